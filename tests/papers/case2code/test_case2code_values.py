"""Values as text: equal values are equal texts, texts of inputs are read back, large values are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.papers.case2code.values import fits, read_inputs, render, text_of

LEAF = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
PLAIN = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(LEAF, inner, max_size=3)
        | st.sets(LEAF, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_a_text_reads_back_as_the_value(value):
    assert read_inputs({"a": render(value)}) == {"a": value}


@given(st.lists(st.text(max_size=3) | st.integers(), unique=True))
def test_sets_are_written_alike_whatever_their_order(items):
    backwards = items[::-1]
    assert render(set(items)) == render(set(backwards))
    assert render(frozenset(items)) == render(frozenset(backwards))


@given(PLAIN.filter(lambda v: "set" not in type(v).__name__ and "{" not in repr(v)))
def test_without_sets_a_text_is_repr(value):
    assert render(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    ["x" * 101, list(range(21)), {i: i for i in range(21)}, 10**100, [[[[[[[1]]]]]]], "<f at 0x7f12>", ["<a at 0x1>"], ["y" * 90] * 3],
)
def test_what_is_too_large_or_names_memory_has_no_text(value):
    assert text_of(value) is None


@pytest.mark.parametrize("value", ["x" * 100, list(range(20)), 10**98, (), set(), frozenset(), b"ab", 1j, float("inf")])
def test_what_is_small_has(value):
    assert fits(value) and text_of(value)
