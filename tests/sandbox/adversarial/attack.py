"""One hostile program and what it must not get. Source: ours."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from galley.sandbox.types import Limits, Run

SMALL = Limits(cpu_s=0.6, wall_s=1.2, memory_mb=128, processes=8, open_files=32, file_mb=2, output_kb=16)
BRIEF = replace(SMALL, cpu_s=0.3, wall_s=0.6)  # for what only its time ends: a shorter one is as good
TESTS = """
import unittest
class TestCases(unittest.TestCase):
    def test_one(self):
        self.assertEqual(solve(2), 4)
    def test_two(self):
        self.assertEqual(solve(3), 9)
        self.assertTrue(solve(1) == 1)
"""
CHECK = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate(3) == 9
    assert sorted(candidate(n) for n in (1, 2)) == [1, 4]
"""


@dataclass(frozen=True)
class Attack:
    """`code` comes to a passing end only if the attack works; otherwise one of `verdicts` must be the outcome."""

    name: str
    code: str
    do: Any = field(default_factory=Run)
    verdicts: tuple[str, ...] = ("fail", "error")
    limits: Limits | None = None

    def __post_init__(self) -> None:
        if self.limits is None:
            object.__setattr__(self, "limits", BRIEF if self.verdicts == ("timeout",) else SMALL)
