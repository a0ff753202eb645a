"""Small sources in the benchmarks' own formats."""

import gzip
import json

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
