"""Inputs: calls of a docstring, probes that are the same for all functions, mutants that keep their type."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galley.data.functions import functions_in
from galley.papers.case2code.inputs import doctest_inputs, key_of, mutants, mutate, probes, signature

SOURCE = '''
def f(a, b=2, c=None):
    """Doc.

    >>> f(1)
    3
    >>> f(a=[1, 2], c={"k": (1,)})
    >>> print(f(1, b=5), g(9), f(x))
    >>> x = f("s", "t") + f(1)
    >>> f(*args)
    >>> f(1, 2, 3, 4)
    >>> f(1, z=3)
    >>> f(
    """
    return a
'''


def test_literal_calls_of_a_docstring_become_inputs_once_each():
    function = functions_in(SOURCE, origin="o", package="p")[0]
    assert doctest_inputs(function, ["a", "b", "c"]) == [
        {"a": 1}, {"a": [1, 2], "c": {"k": (1,)}}, {"a": 1, "b": 5}, {"a": "s", "b": "t"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, b=1): return a", (["a", "b"], 1)),
        ("def f(a, *, k=1): return a", (["a"], 1)),
        ("def f(a, /): return a", None),
        ("def f(*a): return a", None),
        ("def f(a, **k): return a", None),
        ("def f(a, *, k): return a", None),
    ],
)
def test_signatures_that_keyword_calls_can_serve(source, expected):
    assert signature(source) == expected


@pytest.mark.parametrize("required", [1, 2, 3, 4])
def test_probes_depend_on_the_number_of_arguments_only(required):
    names = list("abcdef")
    one, two = probes(names, required), probes([n.upper() for n in names], required)
    assert [(kind, list(given.values())) for kind, given in one] == [(kind, list(given.values())) for kind, given in two]
    assert len(one) >= 20 and all(len(given) == required for _, given in one)
    assert probes(names, 5) == [] and probes([], 0) == []


PLAIN = st.recursive(
    st.integers(-50, 50) | st.text("abc", max_size=4) | st.booleans() | st.floats(-9, 9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("xyz", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(PLAIN, st.integers(0, 10**6))
@settings(max_examples=300)
def test_a_mutant_keeps_its_type_and_leaves_the_parent_alone(value, seed):
    before = repr(value)
    assert type(mutate(value, random.Random(seed))) is type(value)
    assert repr(value) == before


def test_mutants_are_many_distinct_seeded_and_begin_with_their_seeds():
    seeds = [{"a": 3, "b": "abc"}, {"a": 5, "b": "xyz"}]
    made = mutants(seeds, count=24, rng=random.Random(1))
    assert made[:2] == seeds and len({key_of(g) for g in made}) == 24
    assert made == mutants(seeds, count=24, rng=random.Random(1)) != mutants(seeds, count=24, rng=random.Random(2))
    assert mutants([], count=5, rng=random.Random(0)) == []
    assert len(mutants([{"a": None}], count=5, rng=random.Random(0))) == 1  # nothing to change: no endless search
