"""Names from outside against what Python itself looks up, and a normal form that copies share and others do not."""

import builtins
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.data.syntax import ast_key, bound_name, docstring_examples, global_names, parse, plain_source, root_module

NAMES = {
    "def f(a):\n    return a + b": {"b"},
    "def f(a, c=d):\n    return [x for x in a if x in y]": {"d", "y"},
    "def f(a):\n    def g(q):\n        return q + a + z\n    return g(a)": {"z"},
    "def f(a):\n    global k\n    k = 1\n    return f(a - 1)": {"k"},
    "@deco\ndef f(a: T) -> U:\n    try:\n        import re\n    except E as e:\n        return e\n    return re": {"deco", "T", "U", "E"},
    "def f(a):\n    return (lambda n: n + m)(a)": {"m"},
}


@pytest.mark.parametrize("source", NAMES)
def test_names_from_outside(source):
    assert global_names(source) == NAMES[source]


@pytest.mark.parametrize("source", [s for s in NAMES if "deco" not in s and "global" not in s and "=d" not in s])
def test_with_its_outside_names_bound_a_function_runs_without_a_name_error(source):
    space = {name: 1 for name in NAMES[source] if not hasattr(builtins, name)}
    exec(source, space)  # our own text
    with contextlib.suppress(TypeError):  # 1 is no container: any error but a NameError shows that every name is bound
        space["f"](3)


COPY = "def f(a, b):\n    total = 0\n    for i in a:\n        total += i * b\n    return total\n"
SAME = [
    COPY.replace("total", "acc").replace(" i ", " k "),
    COPY.replace("f(a, b)", "g(first, b)").replace("in a", "in first"),
    COPY.replace("f(a, b)", "f(a: list, b: int) -> int").replace("    total = 0", "    '''Doc.'''\n    # note\n    total: int = 0"),
]
OTHER = [COPY.replace("*", "+"), COPY.replace("= 0", "= 1"), COPY.replace("i * b", "i * a"), COPY.replace("return total", "return sum(a)")]


@pytest.mark.parametrize("source", SAME)
def test_copies_have_one_key(source):
    assert source != COPY and ast_key(source) == ast_key(COPY)


@pytest.mark.parametrize("source", OTHER)
def test_another_program_has_another_key(source):
    assert ast_key(source) != ast_key(COPY)


@given(st.permutations(["a", "b", "i", "total", "zz"]))
def test_a_renaming_of_all_names_keeps_the_key(names):
    renamed = (
        COPY.replace("total", "T_").replace("(a, b)", "(A_, B_)").replace(" i ", " I_ ").replace("+= i", "+= I_").replace("in a", "in A_")
    )
    renamed = renamed.replace("* b", "* B_")
    for mark, name in zip(("A_", "B_", "I_", "T_"), names, strict=False):
        renamed = renamed.replace(mark, name)
    assert ast_key(renamed) == ast_key(COPY)


def test_plain_source_is_python_and_stable():
    source = 'class K:\n    "only a doc"\n    x: int\nasync def f(a: int) -> str:\n    "doc"\n'
    bare = plain_source(source)
    assert "doc" not in bare and "int" not in bare and parse(bare) is not None and plain_source(bare) == bare


def test_import_lines():
    lines = {"import a.b": ("a", "a"), "import a.b as c": ("c", "a"), "from a.b import c": ("c", "a"), "from a import c as d": ("d", "a")}
    assert {line: (bound_name(line), root_module(line)) for line in lines} == lines


def test_malformed_examples_are_none():
    node = parse("def f(a):\n    '''\n    >>> f(1)\n    >>>bad\n    '''\n").body[0]
    assert docstring_examples(node) == ()
