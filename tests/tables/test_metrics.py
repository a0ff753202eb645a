from pathlib import Path

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.tables.metrics import check_metrics, load_metrics

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT / "recipes/metrics.yaml"


def row(metric, unit=""):
    return pd.DataFrame([{"metric": metric, "unit": unit}])


def test_the_project_s_registry_loads_and_is_sorted():
    metrics = load_metrics(REGISTRY)
    assert list(metrics) == sorted(metrics, key=str.lower)
    assert metrics["answer_nll"].higher_is_better is False and metrics["std"].higher_is_better is None


def test_the_rates_are_those_whose_items_are_hits_and_misses():
    assert {n for n, m in load_metrics(REGISTRY).items() if m.kind == "rate"} == {"acc", "acc_norm_nospace", "keyword_recall", "pass_rate"}


def test_a_metric_that_is_not_declared_is_refused_by_name(metrics):
    with pytest.raises(GalleyError, match=r"'glory'.*m.yaml"):
        check_metrics(row("glory"), metrics, path=Path("m.yaml"))


def test_one_metric_has_one_unit_and_none_takes_it(metrics):
    check_metrics(row("answer_nll"), metrics, path=Path("m.yaml"))
    check_metrics(row("answer_nll", "nats/token"), metrics, path=Path("m.yaml"))
    with pytest.raises(GalleyError, match=r"bits.*declares 'nats/token'"):
        check_metrics(row("answer_nll", "bits"), metrics, path=Path("m.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {unit: s, better: faster, what: x}", r":1: a\.better: .*'faster'"),
        ("a: {better: lower, what: x}", r":1: a\.unit: Field required"),
        ("a: {unit: s, better: lower,\n  what: x, color: red}", r":2: a\.color: .*'red'.*known keys: .*what"),
        ("a: {unit: s, better: lower, what: x, kind: share}", r":1: a\.kind: .*'share'"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_registry_names_file_and_field(text, words, tmp_path):
    path = tmp_path / "metrics.yaml"
    path.write_text(text)
    with pytest.raises(GalleyError, match=words):
        load_metrics(path)


@pytest.mark.parametrize("recipe", sorted(p.parent.name for p in ROOT.glob("recipes/*/paper_values.csv")))
def test_every_number_of_a_paper_has_a_registered_metric(recipe):
    values = pd.read_csv(ROOT / f"recipes/{recipe}/paper_values.csv").assign(unit="")
    check_metrics(values, load_metrics(REGISTRY), path=REGISTRY)
