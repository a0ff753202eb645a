from dataclasses import replace
from fractions import Fraction

from galley.papers.codeseq.problems import bare_problem
from galley.papers.codeseq.records import Record
from galley.papers.codeseq.solvers import Attempt, SearchSolver, consistent, interpolate, polynomial, recurrence


def run(code, given):
    """Execute one of our own search programs; nothing that a model wrote comes here."""
    printed = []
    exec(code, {"input": lambda: str(given), "print": printed.append})
    return printed[0]


def test_whatever_is_proposed_agrees_with_every_known_case():
    for cases in (((1, 1), (2, 4)), ((0, 3), (1, 5), (2, 7)), ((1, 1), (2, 1), (3, 2), (4, 3)), ((3, 2), (4, 4), (5, 8), (6, 16))):
        programs = consistent(cases)
        assert programs
        for code in programs:
            assert all(run(code, i) == term for i, term in cases)


def test_fits():
    assert interpolate([(0, 1), (1, 3), (2, 7)]) == [1, 1, 1] and interpolate([(1, 5), (2, 5), (3, 5)]) == [5]
    halves = interpolate([(1, 1), (2, 3), (3, 6)])
    assert halves == [0, Fraction(1, 2), Fraction(1, 2)] and polynomial(halves, 10) == 55
    assert recurrence([1, 1, 2, 3, 5, 8]) == (1, 1) and recurrence([1, 1, 2, 3, 5, 9]) is None and recurrence([1, 2, 4, 8]) is None
    assert any("a, b = b" in code for code in consistent(((1, 1), (2, 1), (3, 2), (4, 3))))


def test_search_is_seeded_never_repeats_a_failure_and_gives_up_when_nothing_fits():
    problem = bare_problem(Record("A1", "squares", tuple(n * n + 7 for n in range(30)), 0, formulas=("x",)), seed=0)
    solver = SearchSolver()
    one, two = (solver.propose([(problem, ())], n=40, seed=s)[0] for s in (0, 1))
    assert one == solver.propose([(problem, ())], n=40, seed=0)[0] != two
    first = one[0]
    assert first.code in first.text
    told = replace(first, failed=problem.tests[0], got="0")
    codes = [a.code for a in solver.propose([(problem, (told,))], n=40, seed=0)[0]]
    assert first.code not in codes and all(run(c, problem.tests[0][0]) == problem.tests[0][1] for c in codes)
    strange = replace(problem, examples=((1, 10**30), (2, 3)))
    impossible = replace(told, failed=(3, 10**40 + 1))
    last = solver.propose([(strange, (impossible, replace(impossible, failed=(4, 5)), replace(impossible, failed=(5, 77))))], n=1, seed=0)
    assert last == [[Attempt(None, "")]]
