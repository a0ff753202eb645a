import gzip
import json

from galley.data.syntax import ast_key
from galley.papers.codeseq.overlap import benchmark_index

PROMPT = 'def double(n):\n    """Return twice the whole number n that is given to this function, and nothing more."""\n'


def test_a_benchmarks_words_and_functions_are_found(tmp_path):
    assert benchmark_index(None) is None and benchmark_index(tmp_path) is None
    folder = tmp_path / "humaneval"
    folder.mkdir()
    row = {"task_id": "HumanEval/0", "prompt": PROMPT, "entry_point": "double", "canonical_solution": "    return 2 * n\n", "test": "x"}
    with gzip.open(folder / "HumanEval.jsonl.gz", "wt") as handle:
        handle.write("".join(json.dumps({**row, "task_id": f"HumanEval/{n}"}) + "\n" for n in range(164)))
    (folder / "source.json").write_text('{"status": "ok"}')
    index = benchmark_index(tmp_path)
    assert index.hit("a story: RETURN twice the whole number n, that is given to this function; and nothing more.") == "humaneval"
    assert index.hit("Return twice the whole number n that is given to this function.") is None
    copy = "def f(k):\n    return 2 * k\n"
    assert index.hit(copy, key=ast_key(copy)) == "humaneval" and index.hit(copy) is None
