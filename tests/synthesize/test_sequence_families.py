import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.artifact import GalleyError
from galley.synthesize.sequence_families import (
    ALPHABET,
    FAMILIES,
    JUDGED,
    SHOWN,
    all_programs,
    evaluate,
    is_correct,
    shuffle_values,
    split_programs,
    write_prompt,
)

PROGRAMS = all_programs()


def test_the_grid():
    assert len(PROGRAMS) == 487
    assert len({p.values for p in PROGRAMS}) == 487, "two programs agree on all judged values"
    assert {p.family for p in PROGRAMS} == set(FAMILIES)
    assert all(len(p.values) == JUDGED and len(p.shown) == SHOWN for p in PROGRAMS)
    assert set("".join(write_prompt(p.shown) + p.expression for p in PROGRAMS)) <= set(ALPHABET)


def test_values_are_those_of_python():
    for program in PROGRAMS:
        assert program.values == tuple(eval(program.expression, {}, {"n": n}) for n in range(JUDGED))


def test_a_split_is_disjoint_and_whole():
    split = split_programs(PROGRAMS, held_out=60, family="triangular", seed=3)
    assert len(split.combinations) == 60 and len(split.family) == 50
    parts = [*split.train, *split.combinations, *split.family]
    assert sorted(p.expression for p in parts) == sorted(p.expression for p in PROGRAMS)
    assert {p.family for p in split.family} == {"triangular"} and "triangular" not in {
        p.family for p in (*split.train, *split.combinations)
    }
    assert split == split_programs(PROGRAMS, held_out=60, family="triangular", seed=3)
    assert split != split_programs(PROGRAMS, held_out=60, family="triangular", seed=4)
    with pytest.raises(GalleyError, match="held_out is 500"):
        split_programs(PROGRAMS, held_out=500, family=None, seed=0)


def test_shuffled_values_belong_to_another_program():
    shuffled = shuffle_values(PROGRAMS, seed=0)
    assert [p.expression for p in shuffled] == [p.expression for p in PROGRAMS]
    assert not any(a.values == b.values for a, b in zip(shuffled, PROGRAMS, strict=True))
    assert not any(is_correct(p.expression, p.values) for p in shuffled)


@pytest.mark.parametrize(
    "text", ["", "n+", "f(n)", "n/2", "1.5*n", "x", "True", "9**n**9", "n%0", "n.real", "[n][0]", "(" * 150, "n" * 300, "2**99", "~n",
             "__import__('os')", "n if n else 1", "10**39*99"]
)  # fmt: skip
def test_what_is_no_integer_expression_has_no_value(text):
    assert evaluate(text, 14) is None


def test_another_way_of_writing_a_program_is_right():
    triangular = next(p for p in PROGRAMS if p.expression == "3*(n*(n+1)//2)+1")
    assert is_correct("(3*n*n+3*n)//2+1", triangular.values)
    assert not is_correct("3*(n*(n+1)//2)+2", triangular.values)


ATOMS = st.sampled_from(["n", "1", "2", "7", "13"])
SIGNS = st.sampled_from(["+", "-", "*", "//", "%"])


@given(st.recursive(ATOMS, lambda inner: st.builds("({}{}{})".format, inner, SIGNS, inner), max_leaves=8))
def test_the_interpreter_agrees_with_python(text):
    def python(n):
        try:
            return eval(text, {}, {"n": n})
        except ZeroDivisionError:
            return None

    want = tuple(python(n) for n in range(JUDGED))
    assert evaluate(text, JUDGED) == (None if None in want else want)
