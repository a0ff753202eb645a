from collections import Counter

import pytest

from galley.papers.unitcoder.package_filter import AUDITS, filter_file, program, unresolved
from galley.papers.unitcoder.packages import AUTHORS, CONTROL, bigcodebench_roots

FILE = """
import re
import tempfile
from os import path, remove
import os.path as osp

LIMIT = 3


def words(text):
    return re.findall("[a-z]+", text)


def helper_user(x):
    return words(x)[:LIMIT]


def plain(x):
    return x + 1


def scratch(x):
    return tempfile.mkdtemp(x)


def joined(a, b):
    return path.join(a, b)


def silent(x):
    print(x)


def lazy(x):
    import math
    return math.sqrt(x)


def outer(x):
    def inner(y):
        return y
    return inner(x)


def constant():
    return 1
"""
SHAPES = {"no_return", "import_inside", "nested_function", "no_arguments"}


def run(text=FILE, allowed=AUTHORS, audits=()):
    counts = Counter()
    kept = filter_file(text, origin="f.py", package="p", allowed=allowed, audits=audits, counts=counts)
    return [f.name for f in kept], counts, kept


def test_ours_keeps_what_can_stand_alone_and_counts_the_rest():
    names, counts, kept = run()
    assert names == ["words", "plain", "joined"]
    assert counts == Counter(input=9, kept=3, free_name=1, package=1, no_return=1, import_inside=1, nested_function=1, no_arguments=1)
    assert [f.imports for f in kept] == [("import re",), (), ("from os import path",)]
    assert not any(unresolved(program(f)) for f in kept)


def test_one_other_package_drops_the_file_only_under_the_flag():
    assert run(audits=("drop_file",))[0] == []
    assert run(audits=("drop_file",))[1] == Counter(input=9, dropped_file=9)
    assert run(audits=("drop_file",), allowed=(*AUTHORS, "tempfile"))[0] == ["words", "plain", "scratch", "joined"]


def test_the_released_import_lines_are_by_substring():
    _, _, kept = run(audits=("substring_imports",))
    lines = {f.name: f.imports for f in kept}
    # `path` is part of `import os.path as osp` too, and the whole statement is attached
    assert lines["joined"] == ("from os import path, remove", "import os.path as osp")
    assert "import re" in lines["words"]


def test_free_names_and_nested_imports_under_their_flags():
    assert "helper_user" in run(audits=("free_names",))[0]
    nested = "def load():\n    import json\n    return json\n\n\ndef dump(x):\n    return json.dumps(x)\n"
    assert run(nested)[0] == [] and run(nested, audits=("nested_imports",))[2] == []
    names, _, kept = run(nested, audits=("nested_imports", "free_names"))
    assert names == ["dump"] and kept[0].imports == ("import json",)


@pytest.mark.parametrize("audits", [(), AUDITS])
def test_kept_and_dropped_add_up(audits):
    counts = run(audits=audits)[1]
    assert counts["input"] == sum(n for reason, n in counts.items() if reason != "input")


def test_what_cannot_be_parsed_is_counted_and_names_are_found():
    assert run("def broken(:")[1]["unparsable"] == 1
    assert unresolved("def f(x):\n    return g(x)\n") == {"g"} and unresolved("def (") != set()


def test_the_lists_share_nothing():
    assert len(AUTHORS) == len(set(AUTHORS)) == 139 and not set(AUTHORS) & set(CONTROL)
    assert bigcodebench_roots(["['os.path', 're']", "['re', 'numpy.linalg']"]) == ["os", "re", "numpy"]
