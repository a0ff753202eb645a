"""Rows of the self-checks: references, tests, GRPO's advantages, the GTG score; and of shortcuts and the reward's properties.

arXiv:2510.14620: E1 to E5, the identity of D3, and D4 of the recipe's claims. Each check has a broken variant beside it, whose
method begins with `control:`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from galley.papers.codeseq.answers import stdin_program, wrap_function
from galley.papers.codeseq.gtg import first_sample, gtg_score, recent, unbiased_pass_at_1
from galley.papers.codeseq.judge import Job, Judge
from galley.papers.codeseq.policy import shaping_rows
from galley.papers.codeseq.problems import Problem, well_formed
from galley.papers.codeseq.records import Record
from galley.papers.codeseq.reward import Cssr, centred_advantages, group_advantages, population_advantages, trl_advantages
from galley.papers.codeseq.shortcuts import DEGREE, degree, lookup_program
from galley.tables.items import Rows, absent, count, scored

SEEN = 7  # terms that a shortcut knows: two examples and the paper's five tests
UNSEEN = (0, 1, 2, 3, 5)


def problem_rows(problems: Sequence[Problem], *, counts: Counter[str]) -> Rows:
    """E2 and the sums: test inputs beyond the shown ones; what was kept and dropped adds up to what came in."""
    rows: Rows = []
    for problem in problems:
        overlap = Problem(**{**vars(problem), "tests": (problem.examples[1], *problem.tests)})
        for method, p in (("problems", problem), ("control:overlapping", overlap)):
            rows.append(scored(method, "tests", "well_formed", well_formed(p), item_id=p.id))
    dropped = ("few_terms", "little_variety", "no_computation", "only_by_reference", "not_mathematical")
    written = ("few_tests", "not_json", "wrong_example_output", "unequal_shift", "guide_disagrees", "endpoint_failed",
               "reference_disagrees", "reference_too_slow")  # fmt: skip
    lost = abs(counts["input"] - counts["kept"] - sum(counts[r] for r in dropped))
    lost += abs(counts["problems_input"] - counts["accepted"] - sum(counts[r] for r in written))
    rows.append(scored("problems", "counts", "unaccounted", lost))
    reasons = ("input", "kept", *dropped, "problems_input", "accepted", *written, "gtg")
    rows += [count("problems", "counts", reason, counts[reason]) for reason in reasons]
    return rows


def check_references(
    pairs: Sequence[tuple[Record, Problem]], *, judge: Judge, counts: Counter[str]
) -> tuple[list[tuple[Record, Problem]], Rows]:
    """E1: the share of a problem's terms, hidden ones too, that its reference gives; the next problem's reference beside it.

    Also returns the problems without those whose reference is wrong, or did not finish within the limits (which is no row: it
    says nothing of the terms).
    """
    known = [(record, problem) for record, problem in pairs if record.reference]
    rows: Rows = []
    bad = set()
    for method, step in (("reference", 0), ("control:other_reference", 1)):
        jobs = [
            Job(wrap_function(known[(n + step) % len(known)][0].reference, "f"), (*p.examples, *p.tests, *p.hidden))
            for n, (_, p) in enumerate(known)
        ]
        for (_, problem), judged in zip(known, judge.judge(jobs), strict=True):
            slow = not judged.passed and judged.verdict in ("timeout", "memory")
            if not slow:
                rows.append(scored(method, "terms", "right_terms", judged.right / judged.cases, item_id=problem.id))
            if not step and not judged.passed:
                counts["reference_too_slow" if slow else "reference_disagrees"] += 1
                bad.add(problem.id)
    if not known:
        rows.append(absent("reference", "terms", "right_terms", "no sequence has a reference program here"))
    counts["accepted"] -= len(bad)
    return [(record, problem) for record, problem in pairs if problem.id not in bad], rows


def trivial_rows(problems: Sequence[Problem], *, judge: Judge) -> Rows:
    """E1.trivial: the share of problems that the constant 0 solves; a constant made for one test beside it."""
    jobs = {
        "constant_zero": [Job(stdin_program("0"), p.tests) for p in problems],
        "control:one_test": [Job(stdin_program(str(p.tests[0][1])), p.tests[:1]) for p in problems],
    }
    return [scored(method, "trivial", "pass_rate", np.mean([j.passed for j in judge.judge(js)])) for method, js in jobs.items()]


def shortcut_rows(problems: Sequence[Problem], *, judge: Judge) -> Rows:
    """D4: whether a program that knows SEEN terms by heart passes them and the next 0 to 5; polynomial sequences are told apart."""
    rows: Rows = []
    for beyond in ("nothing", "constant", "polynomial"):
        jobs, about = [], []
        for problem in problems:
            terms = (*problem.examples, *problem.tests, *problem.hidden)
            if len(terms) < SEEN + UNSEEN[-1]:
                continue
            order = degree([term for _, term in terms])
            jobs.append(Job(lookup_program(terms[:SEEN], beyond=beyond), terms[: SEEN + UNSEEN[-1]]))
            about.append((problem.id, "shortcuts" if order is None or order > DEGREE else "shortcuts_polynomial"))
        for (name, benchmark), job, judged in zip(about, jobs, judge.judge(jobs), strict=True):
            failed = None if judged.failure is None else [i for i, _ in job.cases].index(judged.failure.given)
            for n in UNSEEN:
                passed = failed is None or failed >= SEEN + n
                rows.append(scored(f"lookup:{beyond}", benchmark, "pass_rate", passed, setting=f"unseen={n}", item_id=name))
    return rows + _rates([row for row in rows if row["benchmark"] == "shortcuts"])


def _rates(rows: Rows) -> Rows:
    """Return the mean of each method and setting as one row: a rate, of which a claim can say that it is not 0."""
    scores: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        scores.setdefault((row["method"], row["setting"]), []).append(row["score"])
    return [scored(method, "shortcuts rate", "pass_rate", np.mean(values), setting=setting) for (method, setting), values in scores.items()]


def gtg_rows(passed: Mapping[str, Sequence[bool]], *, method: str, origins: Mapping[str, str], seed: int = 0) -> Rows:
    """E5 and the GTG score: points by problem, of recent sequences also apart; the unbiased pass@1, and what shuffled samples change."""
    rows = [
        scored(method, benchmark, "points", 100 * sum(s) / len(s), item_id=name)
        for name, s in sorted(passed.items()) for benchmark in ("GTG", "GTG recent")[: 1 + recent(origins[name])]
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    shuffled = [{name: [s[i] for i in rng.permutation(len(s))] for name, s in passed.items()} for _ in range(20)]
    for name, score in (("gtg_score", gtg_score), ("control:first_sample", first_sample)):
        gap = max(abs(score(other) - score(passed)) for other in shuffled)
        twin = abs(score(passed) - unbiased_pass_at_1(passed))
        rows += [
            scored(name, "GTG twins", "max_abs_diff", gap, setting="order"),
            scored(name, "GTG twins", "max_abs_diff", twin, setting="twin"),
        ]
    return rows


def analytic_rows(*, rollouts: int) -> Rows:
    """E4 and D3: what needs no sequence."""
    return [*reward_rows(), *identity_rows(rollouts), *shaping_rows()]


def advantage_rows(problem: str, passed: Sequence[bool]) -> Rows:
    """E3: how far the advantages of a problem's own rollouts are from TRL's; by a population's std, and only centred, beside it."""
    rewards = np.array([passed], dtype=float)
    ours = {"group_normalised": group_advantages, "control:population": population_advantages, "control:centred": centred_advantages}
    return [
        scored(method, "advantages", "max_abs_diff", np.abs(advantages(rewards) - trl_advantages(rewards)).max(), item_id=problem)
        for method, advantages in ours.items()
    ]


def reward_rows() -> Rows:
    """E4: violations of properties on a grid. The paper's reward is not known: its row says so; what is counted is our template's.

    A reward that rises in s and pays for no cases stands beside it.
    """

    def broken(*, passed: bool, s: float, right_cases: int = 0, cases: int = 0, formatted: bool = True) -> float:
        return passed * s + 1.2 * (right_cases / cases if cases else 1.0)

    template = Cssr()
    rows: Rows = [absent("paper", "reward", "violations", "the paper's formula is not in what could be read of it")]
    for method, reward in (("template", template.reward), ("control:rising", broken)):
        for name, found in violations(reward, bound=1 + template.case_weight, fewest=template.fewest_cases).items():
            rows.append(scored(method, "reward", "violations", found, setting=name))
    return rows


def violations(reward: Callable[..., float], *, bound: float, fewest: int) -> dict[str, int]:
    """Return how often each property of section 3.4 fails on a grid of solvabilities and case counts."""
    grid = [k / 100 for k in range(96)]
    share = [(right, cases) for cases in range(fewest, 9) for right in range(cases + 1)]
    falls = sum(reward(passed=True, s=a) <= reward(passed=True, s=b) for a, b in itertools.pairwise(grid))
    every = [reward(passed=p, s=s, right_cases=r, cases=c) for p in (False, True) for s in grid for r, c in [(0, 0), *share]]
    rises = sum(
        reward(passed=p, s=s, right_cases=r, cases=c) >= reward(passed=p, s=s, right_cases=r + 1, cases=c)
        for p in (False, True) for s in grid for r, c in share if r < c
    )  # fmt: skip
    few = sum(reward(passed=False, s=s, right_cases=c, cases=c) != 0 for s in grid for c in range(fewest))
    beats = sum(reward(passed=False, s=s, right_cases=c, cases=c) >= reward(passed=True, s=s) for s in grid for c in (0, fewest, 8))
    return {
        "falls in solvability": falls,
        "within bounds": sum(not 0 <= r <= bound for r in every),
        "rises in right cases": rises,
        "nothing for too few cases": few,
        "right beats wrong": beats,
        "nothing without format": sum(reward(passed=True, s=s, right_cases=2, cases=2, formatted=False) != 0 for s in grid),
    }


def identity_rows(rollouts: int, *, seed: int = 0) -> Rows:
    """D3: a factor per problem cancels in group-normalised advantages, and does not where they are only centred."""
    rng = np.random.default_rng(seed)
    passed = (rng.random((64, rollouts)) < rng.random((64, 1))).astype(float)
    factor = rng.uniform(0.05, 1.0, size=(64, 1))
    rows: Rows = []
    for method, advantages in (("group_normalised", group_advantages), ("control:centred", centred_advantages)):
        rows.append(scored(method, "scaling", "max_abs_diff", np.abs(advantages(factor * passed) - advantages(passed)).max()))
    return rows
