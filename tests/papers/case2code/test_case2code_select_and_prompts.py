"""Selection keeps the paper's rules for any number of cases; prompts are seeded, varied and show each case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.papers.case2code.check import violations
from galley.papers.case2code.dataset import Item
from galley.papers.case2code.prompts import LIMIT, answer, call, raw_input, write_prompt
from galley.papers.case2code.select import Case, Selection, select
from galley.papers.case2code.synthesis import Sample

CASES = tuple(Case({"n": str(i), "text": repr("v" * i)}, repr(i * i)) for i in range(24))


def sample(cases):
    return Sample("id", "square", "def square(n, text):\n    return n * n\n", "p", "probe", "g", tuple(cases))


@given(st.integers(6, 24), st.integers(1, 3), st.integers(0, 1000), st.integers(0, 3))
def test_a_selection_breaks_no_rule(n, min_hidden, seed, repeats):
    cases = [*CASES[:n], *CASES[:repeats]]  # repeated inputs must be neither shown twice nor hidden beside themselves
    chosen = select(cases, seed=str(seed), min_hidden=min_hidden)
    assert violations(Item(sample(cases), chosen), chosen) == 0
    assert 3 <= len(chosen.shown) <= min(10, n) and len(chosen.hidden) >= min_hidden
    assert max(chosen.shown) < 10 and chosen == select(cases, seed=str(seed), min_hidden=min_hidden)


def test_too_few_cases_are_refused():
    with pytest.raises(ValueError, match="3 distinct"):
        select([*CASES[:3], *CASES[:3]], seed="0")


@pytest.mark.parametrize(
    "wrong",
    [
        Selection((0, 1), (5,)),
        Selection(tuple(range(11)), (12,)),
        Selection((0, 1, 1), (5,)),
        Selection((0, 1, 2), ()),
        Selection((0, 1, 2), (2, 5)),
        Selection((0, 1, 99), (5,)),
    ],
)
def test_each_broken_rule_is_seen(wrong):
    assert violations(Item(sample(CASES), wrong), wrong) > 0


def test_prompts_are_seeded_and_their_randomisation_reaches_every_form():
    made = [write_prompt("square", CASES[:4], seed=str(i)) for i in range(300)]
    assert made == [write_prompt("square", CASES[:4], seed=str(i)) for i in range(300)]
    assert len(set(made)) > 250
    for mark in (">>> square(", "assert square(", "Input: ", "dict(n=1", "n: 1", "square(n=1", "square(1,"):
        assert any(mark in text for text in made), mark
    named = sum("square" in text for text in made) / len(made)
    assert 0.8 < named < 1.0  # a header with probability 0.8, or a form that calls the function
    assert all(case.output in text and case.inputs["text"] in text for text in made for case in CASES[:4])


def test_long_prompts_are_dropped():
    assert write_prompt("f", [Case({"n": "1"}, "x" * LIMIT)], seed="0") is None


def test_forms():
    case = CASES[2]
    assert raw_input(case, "pairs") == "n: 2, text: 'vv'" and raw_input(case, "bare") == "2, 'vv'"
    assert call("f", case, keywords=True) == "f(n=2, text='vv')" and call("f", case, keywords=False) == "f(2, 'vv')"
    assert answer("def f(a):\n    return a\n").endswith("```python\ndef f(a):\n    return a\n```")
