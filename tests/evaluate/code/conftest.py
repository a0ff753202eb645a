"""Small sources in the benchmarks' own formats."""

import gzip
import json

import pytest

DOUBLE = 'def double(x):\n    """ Return twice x.\n    >>> double(2)\n    4\n    """\n'
TEXTS = [
    ("double", DOUBLE, "    return 2 * x\n", "    assert candidate(2) == 4\n    assert candidate(0) == 0\n"),
    ("shout", 'def shout(s):\n    """ Return s in capitals. """\n', "    return s.upper()\n", "    assert candidate('a') == 'A'\n"),
    ("first", 'def first(xs):\n    """ Return the first of xs. """\n', "    return xs[0]\n", "    assert candidate([3, 1]) == 3\n"),
]
INPUTS = {"double": ([[2], [0]], [[-1], [5]]), "shout": ([["a"]], [["aB"], [""]]), "first": ([[[3, 1]]], [[["x"]]])}


def write_source(folder, file, rows):
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / file).write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
    (folder / "source.json").write_text('{"status": "ok"}')


@pytest.fixture
def sources(tmp_path):
    """Three tasks of HumanEval and HumanEval+; the other benchmarks are absent."""
    rows = [{"task_id": f"HumanEval/{n}", "entry_point": name, "prompt": prompt, "canonical_solution": body,
             "test": f"def check(candidate):\n{test}"} for n, (name, prompt, body, test) in enumerate(TEXTS)]  # fmt: skip
    write_source(tmp_path / "sources" / "humaneval", "HumanEval.jsonl.gz", rows)
    more = [{**row, "base_input": INPUTS[row["entry_point"]][0], "plus_input": INPUTS[row["entry_point"]][1], "atol": 0} for row in rows]
    write_source(tmp_path / "sources" / "humaneval_plus", "HumanEvalPlus.jsonl.gz", more)
    return tmp_path / "sources"
