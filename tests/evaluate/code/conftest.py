"""Small sources in the benchmarks' own formats."""

import pytest
from code_sources import INPUTS, TEXTS, write_source


@pytest.fixture
def sources(tmp_path):
    """Three tasks of HumanEval and HumanEval+; the other benchmarks are absent."""
    rows = [{"task_id": f"HumanEval/{n}", "entry_point": name, "prompt": prompt, "canonical_solution": body,
             "test": f"def check(candidate):\n{test}"} for n, (name, prompt, body, test) in enumerate(TEXTS)]  # fmt: skip
    write_source(tmp_path / "sources" / "humaneval", "HumanEval.jsonl.gz", rows)
    more = [{**row, "base_input": INPUTS[row["entry_point"]][0], "plus_input": INPUTS[row["entry_point"]][1], "atol": 0} for row in rows]
    write_source(tmp_path / "sources" / "humaneval_plus", "HumanEvalPlus.jsonl.gz", more)
    return tmp_path / "sources"
