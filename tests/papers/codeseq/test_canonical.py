import pytest

from galley.artifact import GalleyError
from galley.papers.codeseq.canonical import group_sequences, hold_out

PRIMES = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47]
CUBES = [n**3 for n in range(15)]


@pytest.mark.parametrize(
    "same",
    [PRIMES[1:], PRIMES[3:], [-p for p in PRIMES], [6 * p for p in PRIMES], [p + 100 for p in PRIMES], [5 - 2 * p for p in PRIMES]],
)
def test_variants_of_a_sequence_are_one_group(same):
    groups = group_sequences([("a", PRIMES), ("c", CUBES), ("b", same)])
    assert groups["a"] == groups["b"] != groups["c"]


def test_groups_are_closed():
    groups = group_sequences([("late", PRIMES[5:]), ("first", PRIMES), ("bridge", PRIMES[2:])])
    assert len(set(groups.values())) == 1


def test_holding_out_keeps_groups_whole():
    sequences = [(f"{k}-{s}", [(n + s) ** 2 * k + (n + s) ** 3 for n in range(12)]) for k in range(20) for s in range(3)]
    groups = group_sequences(sequences)
    held = hold_out(groups, wanted=20, seed=1)
    assert 0 < len(held) <= 20 and held == hold_out(groups, wanted=20, seed=1) != hold_out(groups, wanted=20, seed=2)
    assert not {groups[h] for h in held} & {g for name, g in groups.items() if name not in held}
    with pytest.raises(GalleyError, match="at most 2"):
        hold_out(groups, wanted=2, seed=0)
