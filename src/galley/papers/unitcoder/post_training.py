"""What the pipeline's programs are worth as training data: the paper's headline (N), its package list (N2), its parts (T).

arXiv:2502.11460 trains base models on prefix -> completion pairs of what the pipeline kept. Its 500k programs are not published, so here
they are those of this plan's agents. Arms, all on equally many answer tokens:
  UnitCoder     programs of the authors' package list that passed, refined where a refinement passed
  control_list  the same of a list that shares no package with BigCodeBench
  no_tests      the corpus's functions of the authors' list as they are, whatever their tests say
  no_debug      programs that passed at once
  no_refine     what passed, without its refinement
  tenth         a tenth of UnitCoder's programs
  shuffled      UnitCoder's prefixes with the bodies of others: a broken control
`UnitCoder:half_gain` is halfway between the base and UnitCoder, task by task: what N2 holds the control list to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import digest
from galley.models.device import device_name, resolve_device
from galley.papers.unitcoder.answers import answer_rows
from galley.papers.unitcoder.export import prefix_and_body
from galley.papers.unitcoder.pipeline import Row, kept_code
from galley.papers.unitcoder.plan import Arm, Plan
from galley.papers.unitcoder.tuning import trained
from galley.stage import Job
from galley.stats import derangement
from galley.tables.items import Rows, scored
from galley.tables.ledger import Ledger

Pairs = list[tuple[str, str]]


def run_post_training(
    job: Job, *, base: Path, functions: Path, passed: Path, failed: Path, sources: Path, device: str, unsafe: bool = False
) -> None:
    """Write post_training.items.parquet and .runs.csv; finished arms are kept when it is interrupted."""
    plan = job.plan
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    lists = {row["id"]: row["lists"] for row in _read(functions)}
    pools = arms(_read(passed), _read(failed), lists=lists, seed=plan.data_seed)
    inputs = {"base": base, "functions": functions, "passed": passed, "failed": failed}
    ledger = Ledger(job, backend="torch", device=device_name(where), inputs=inputs)
    for arm, seed in [("base", 0), *((arm, seed) for seed in range(plan.seeds) for arm in plan.post_training)]:
        work = partial(
            _arm,
            arm,
            seed,
            base=base,
            examples=pools.get(arm, []),
            plan=plan,
            dtype=job.spec.dtype,
            device=where,
            sources=sources,
            unsafe=unsafe,
        )
        ledger.unit(f"{arm}-{seed}", work, method=method_of(arm), seed=seed)
    half = half_gain(pd.concat(ledger.frames, ignore_index=True))
    if half:
        ledger.add(half, {}, name="half_gain", method=method_of("half_gain"))
    ledger.write()


def method_of(arm: str) -> str:
    """Return what an arm's rows are called: a variant of UnitCoder by its name after a colon."""
    return arm if arm in ("base", "UnitCoder") else f"UnitCoder:{arm}"


def arms(passed: Sequence[Row], failed: Sequence[Row], *, lists: Mapping[str, Sequence[str]], seed: int) -> dict[Arm, Pairs]:
    """Return each arm's (prefix, body) pairs, from the pipeline's rows and each function's package lists."""
    ours, control = ([row for row in passed if name in lists.get(row["id"], ())] for name in ("ours", "control_list"))
    raw = [row for row in (*passed, *failed) if "ours" in lists.get(row["id"], ())]
    whole = _pairs(ours, kept_code)
    found: dict[Arm, Pairs] = {
        "UnitCoder": whole,
        "control_list": _pairs(control, kept_code),
        "no_tests": _pairs(raw, lambda row: row["original"]),
        "no_debug": _pairs([row for row in ours if row["provenance"] == "first_pass"], kept_code),
        "no_refine": _pairs(ours, lambda row: row["code"]),
        "tenth": _pairs([row for row in ours if int(digest([seed, row["id"]]), 16) % 10 == 0], kept_code),
    }
    bodies = derangement(len(whole), seed=seed) if len(whole) > 1 else []
    found["shuffled"] = [(prefix, whole[j][1]) for (prefix, _), j in zip(whole, bodies, strict=bool(bodies))]
    return found


def half_gain(items: pd.DataFrame) -> Rows:
    """Return, for each task and seed that both have, the score halfway between the base's and UnitCoder's."""
    points = items[(items["metric"] == "points") & items["score"].notna()]
    base = {(r.benchmark, r.item_id): r.score for r in points[points["method"] == "base"].itertuples()}
    rows: Rows = []
    for r in points[points["method"] == "UnitCoder"].itertuples():
        if (r.benchmark, r.item_id) in base:
            half = (base[r.benchmark, r.item_id] + r.score) / 2
            rows.append(
                scored(method_of("half_gain"), r.benchmark, "points", half, unit="points", item_id=r.item_id, seed=r.seed, trained=True)
            )
    return rows


def _arm(
    arm: str, seed: int, state: Path, *, base: Path, examples: Sequence[tuple[str, str]], plan: Plan, dtype: str, device: Any,
    sources: Path, unsafe: bool,
) -> tuple[Rows, dict[str, int]]:  # fmt: skip
    model, tokenizer, facts, rows = trained(
        method_of(arm), seed, state, base=base, examples=examples, plan=plan, dtype=dtype, device=device
    )
    rows += answer_rows(method_of(arm), model, tokenizer, plan=plan, sources=sources, folder=state, unsafe=unsafe)
    return [{**row, "trained": arm != "base"} for row in rows], facts


def _pairs(rows: Sequence[Row], code_of: Any) -> Pairs:
    cuts = (prefix_and_body(code_of(row), row["entry_point"]) for row in rows)
    return [cut for cut in cuts if cut is not None]


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
