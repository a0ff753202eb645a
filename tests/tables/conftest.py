"""A small handmade experiment: two methods on two benchmarks, one of them with a paper value, one not run."""

import pandas as pd
import pytest

from galley.tables.claims import Claim
from galley.tables.judge import judge
from galley.tables.metrics import Metric
from galley.tables.rows import check_items
from galley.tables.table import build_table

COMMON = {"paper": "p", "scale": "smoke", "model": "m_1", "unit": "", "weight": 1.0, "status": "ok", "reason": "", "run_id": "r1",
          "backend": "torch", "device": "cpu", "trained": False}  # fmt: skip


def rows(method, benchmark, metric, scores, *, setting="final", seed=0, **more):
    return [
        COMMON
        | {"method": method, "setting": setting, "benchmark": benchmark, "metric": metric, "seed": seed, "item_id": str(i), "score": s}
        | more
        for i, s in enumerate(scores)
    ]


@pytest.fixture
def items():
    made = rows("original", "heldout", "bits_per_byte", [1.0, 1.2, 1.1, 0.9, 1.0, 1.2, 1.1, 0.9])
    made += rows("a&b_50%|x", "heldout", "bits_per_byte", [1.5, 1.7, 1.6, 1.4, 1.5, 1.72, 1.6, 1.4])
    made += rows("control:broken", "heldout", "bits_per_byte", [1.9, 1.8, 1.6, 1.9, 1.5, 1.9, 1.8, 1.9])
    made += rows("original", "commonsense_piqa", "acc", [1.0, 0.0, 1.0, 1.0])
    made += rows("original", "commonsense_arc", "acc", [float("nan")], status="not_run", reason="data: out of reach", item_id="all")
    made += rows("a&b_50%|x", "heldout", "recovered_fraction", [0.3], setting="step=10", item_id="all")
    made += rows("a&b_50%|x", "heldout", "recovered_fraction", [0.6], setting="step=20", item_id="all")
    made += rows("original", "needle", "answer_nll", [0.4], setting="16bit", item_id="len=96,depth=0.5")
    made += rows("original", "needle", "answer_nll", [0.8], setting="16bit", item_id="len=192,depth=0.5")
    return check_items(pd.DataFrame(made))


@pytest.fixture
def claims():
    side = {"benchmark": "heldout", "metric": "bits_per_byte", "setting": "final"}
    broken = {"name": "broken", "why": "a broken original", "lhs": {"method": "control:broken", **side}}
    claim = {
        "id": "C1", "statement": "the original <loses> less | than the other", "source": "Table 1", "kind": "order",
        "evidence": "experiment", "lhs": {"method": "original", **side}, "rhs": {"method": "a&b_50%|x", **side}, "scales": ["smoke"],
        "margin": {"abs": 0.0, "reason": "an order has no margin"}, "controls": [broken], "expect": {"smoke": ["proxy_agrees"]},
    }  # fmt: skip
    return [Claim.model_validate(claim)]


@pytest.fixture
def paper():
    return pd.DataFrame(
        [
            {"table": "T1", "model": "m_1", "method": "original", "setting": "final", "benchmark": "commonsense_piqa", "metric": "acc",
             "value": "0.68", "source": "Table 1"},
            {"table": "T1", "model": "big", "method": "original", "setting": "final", "benchmark": "commonsense_piqa", "metric": "acc",
             "value": "0.78", "source": "Table 1"},
            {"table": "T4", "model": "m_1", "method": "pruned", "setting": "base", "benchmark": "sizes", "metric": "params_M",
             "value": "134.52", "source": "Table 4"},
        ]
    )  # fmt: skip


@pytest.fixture
def metrics():
    units = {"bits_per_byte": ("bits/byte", "lower"), "acc": ("fraction", "higher"), "recovered_fraction": ("fraction", "higher"),
             "answer_nll": ("nats/token", "lower"), "params_M": ("M", "neither")}  # fmt: skip
    rates = {"acc"}
    return {n: Metric(unit=unit, better=better, what=n, kind="rate" if n in rates else "mean") for n, (unit, better) in units.items()}


@pytest.fixture
def figures(tmp_path):
    """What a recipe declares: curves of one metric and heat maps of another."""
    where = "'len=(\\d+),depth='", "'len=\\d+,depth=([\\d.]+)'"
    path = tmp_path / "figures.yaml"
    path.write_text(
        "recovered_fraction:\n  kind: curves\n  metric: recovered_fraction\n  label: recovered fraction\n"
        "  x: {column: setting, pattern: 'step=(\\d+)', label: fine-tuning step}\n  level: 1\n"
        "needles:\n  kind: heat_maps\n  benchmarks: [needle]\n  metric: answer_nll\n  label: answer nats/token\n"
        f"  x: {{column: item_id, pattern: {where[0]}, label: tokens}}\n  y: {{column: item_id, pattern: {where[1]}, label: depth}}\n"
    )
    return path


@pytest.fixture
def judged(claims, items):
    return judge(claims, items, scale="smoke")


@pytest.fixture
def table(items, judged, claims, paper, metrics):
    return build_table(items, judged, claims, paper, metrics)
