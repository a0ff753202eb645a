"""Function corpora: what a function carries, where relative imports go, copies, readers of wheels and rows."""

import json
import shutil
import sysconfig
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.data.functions import (
    dedupe,
    functions_in,
    hub_rows,
    jsonl_rows,
    package_functions,
    plain,
    row_functions,
    stdlib_functions,
    wheel_functions,
)

FILE = '''
import os, numpy as np
from math import gcd as g, sqrt
from . import near
from ..up import far
try:
    import json
except ImportError:
    json = None
LIMIT = 3


def uses_two(np_like, x: "Sequence[int]") -> int:
    """Say it.

    >>> uses_two(1, 4)
    2
    >>> y = 3
    """
    # a comment that names os and json
    return g(x, 2) + far(x)


def shadow(os):
    return os + 1


def uses_two(a):
    return near(a)


@near
def decorated(a, b=LIMIT):
    return np.abs(json.dumps(a))


class C:
    def method(self):
        return 1
'''


def test_a_function_carries_only_the_imports_that_it_uses():
    found = functions_in(FILE, origin="p/q/m.py", package="p", module="p.q")
    by_id = {f.id: f for f in found}
    assert list(by_id) == ["p/q/m.py:uses_two", "p/q/m.py:shadow", "p/q/m.py:uses_two#2", "p/q/m.py:decorated"]
    first = by_id["p/q/m.py:uses_two"]
    assert first.imports == ("from math import gcd as g", "from p.up import far")
    assert first.doctests == ("uses_two(1, 4)", "y = 3")
    assert "# a comment" in first.source
    assert by_id["p/q/m.py:shadow"].imports == ()  # an argument named os is no import
    assert by_id["p/q/m.py:uses_two#2"].imports == ("from p.q import near",)
    assert by_id["p/q/m.py:decorated"].imports == ("from p.q import near", "import json", "import numpy as np")
    assert by_id["p/q/m.py:decorated"].source.startswith("@near\ndef")


@pytest.mark.parametrize("text", ["def f(:", "x = 1\0", "(" * 5000, "def f():\n  return 1\n return 2"])
def test_what_cannot_be_parsed_is_counted_not_raised(text):
    counts = Counter()
    assert functions_in(text, origin="o", package="p", counts=counts) == []
    assert counts == {"unparsable": 1}


def test_plain_drops_docstring_annotations_comments_and_their_imports():
    text = "from typing import List\ndef f(a: List[int], b=1) -> List[int]:\n    'doc'\n    x: int\n"
    text += "    y: List[int] = a  # why\n    return y\n"
    function = functions_in(text, origin="o", package="p")[0]
    assert function.imports == ("from typing import List",)
    bare = plain(function)
    assert bare.source == "def f(a, b=1):\n    pass\n    y = a\n    return y\n" and bare.imports == ()
    assert plain(bare) == bare


def test_copies_are_dropped_and_counted():
    text = "def f(a):\n    b = a + 1\n    return b\ndef g(x: int):\n    'copy'\n    y = x + 1\n    return y\n"
    text += "def h(a):\n    b = a + 2\n    return b\n"
    counts = Counter()
    kept = list(dedupe(functions_in(text, origin="o", package="p"), counts=counts))
    assert [f.name for f in kept] == ["f", "h"] and counts == {"duplicate": 1}


def test_the_standard_library_has_known_functions_and_not_its_tests_nor_what_is_installed(tmp_path, monkeypatch):
    """A part of it: the whole takes seconds."""
    whole = Path(sysconfig.get_paths()["stdlib"])
    for name in ("bisect.py", "textwrap.py", "json/encoder.py", "email/utils.py"):
        for place in ("", "test", "idlelib", "site-packages/x", "unittest/test"):
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(whole / name, tmp_path / place / name)
    assert next(stdlib_functions()).id.startswith("stdlib/"), "the one of this interpreter"
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    found = {f.id: f for f in stdlib_functions()}
    assert found["stdlib/textwrap.py:dedent"].imports == ("import re",)
    assert found["stdlib/email/utils.py:getaddresses"].imports
    assert {name.partition(":")[0] for name in found} == {f"stdlib/{n}.py" for n in ("bisect", "textwrap", "json/encoder", "email/utils")}


def test_an_installed_package_is_read_not_imported_and_an_absent_one_refused():
    assert any(f.name == "first_true" for f in package_functions("more_itertools"))
    with pytest.raises(GalleyError, match="no_such_package_here"):
        list(package_functions("no_such_package_here"))


def test_a_wheel_is_read_where_it_is(tmp_path):
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/sub/m.py", "from .n import k\ndef f(a):\n    return k(a)\n")
        archive.writestr("pkg/tests/t.py", "def t(a):\n    return a\n")
    (function,) = wheel_functions(wheel)
    assert (function.id, function.package, function.imports) == ("pkg/sub/m.py:f", "pkg", ("from pkg.sub.n import k",))


def test_rows_of_a_corpus_stream_through_datasets_as_through_our_reader(tmp_path):
    from datasets import load_dataset

    path = tmp_path / "rows.jsonl"
    rows = [{"content": f"def f{i}(a):\n    return a + {i}\n", "blob": str(i)} for i in range(20)] + [{"content": "def (", "blob": "x"}]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    counts = Counter()
    ours = list(row_functions(jsonl_rows(path), id_field="blob", package="hub", counts=counts))
    stream = load_dataset("json", data_files=str(path), split="train", streaming=True)
    assert list(row_functions(stream, id_field="blob", package="hub")) == ours
    assert len(ours) == 20 and ours[3].id == "hub/3:f3" and counts == {"unparsable": 1}


def test_broken_rows_and_branches_are_refused_by_name(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"content": "x"}\n{"content"\n')
    with pytest.raises(GalleyError, match=r"rows\.jsonl:2"):
        list(jsonl_rows(path))
    with pytest.raises(GalleyError, match="'content'"):
        list(row_functions([{"text": "x"}], package="hub"))
    with pytest.raises(GalleyError, match="'main'"):
        next(hub_rows("some/data", revision="main"))
