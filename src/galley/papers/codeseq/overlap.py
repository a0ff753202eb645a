"""Keeping training data apart from the benchmarks that the paper scores: HumanEval and MBPP.

A problem or function is dropped when it shares 13 words in a row, or a whole function up to names, with a benchmark's task.

Source: ours (13 words as in arXiv:2005.14165, appendix C); the paper's reviewers found no such control in arXiv:2510.14620.
"""

from __future__ import annotations

from pathlib import Path

from galley.data.code_benchmarks import read_humaneval, read_mbpp
from galley.data.decontaminate import Index, build_index
from galley.data.fetched import present
from galley.data.syntax import ast_key

WORDS = 13


def benchmark_index(sources: Path | None) -> Index | None:
    """Return the index of the benchmarks that were fetched into a folder of sources, or None when there is none."""
    texts: dict[str, list[str]] = {}
    keys: dict[str, list[str]] = {}
    if sources is not None and present(sources / "humaneval"):
        tasks = read_humaneval(sources / "humaneval")
        texts["humaneval"] = [f"{t.prompt}\n{t.reference}" for t in tasks]
        keys["humaneval"] = [ast_key(t.reference) for t in tasks]
    if sources is not None and present(sources / "mbpp"):
        short = read_mbpp(sources / "mbpp")
        texts["mbpp"] = [f"{t.text}\n{t.reference}" for t in short]
        keys["mbpp"] = [ast_key(t.reference) for t in short]
    return build_index(texts, n=WORDS, keys=keys) if texts else None
