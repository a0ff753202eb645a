import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from galley.artifact import GalleyError
from galley.tables.judge import judge
from galley.tables.rows import check_items, write_items, write_runs
from galley.tables.table import COLUMNS, build_table, is_missing, make_table

ROOT = Path(__file__).parents[2]


def one(table, **wanted):
    found = table
    for column, value in wanted.items():
        found = found[found[column] == value]
    assert len(found) == 1, found
    return found.iloc[0]


def test_a_number_is_its_items_mean_with_an_interval_around_it(table):
    row = one(table, method="original", metric="bits_per_byte")
    assert row["value"] == pytest.approx((1.0 + 1.2 + 1.1 + 0.9) / 4)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert (row["n_items"], row["n_seeds"], row["status"], row["run_ids"]) == (8, 1, "ok", "r1")
    assert "one run" in row["ci_method"] and row["level"] == 0.95
    assert list(table.columns) == COLUMNS


def test_the_paper_s_value_stands_beside_ours_and_what_we_did_not_run_is_a_row_with_a_reason(table):
    ours = one(table, model="m_1", benchmark="commonsense_piqa")
    assert (ours["value"], ours["reported"], ours["reported_source"]) == (0.75, 0.68, "Table 1")
    theirs = one(table, model="big")
    assert theirs["status"] == "not_run" and theirs["reason"] and math.isnan(theirs["value"]) and theirs["reported"] == 0.78


def test_a_paper_s_row_keeps_its_names_whatever_its_table_is_called(table):
    """Every paper may have a Table 4; MHA2MLA's names its methods in the place of settings, and no other's is to be read so."""
    row = one(table, metric="params_M")
    assert (row["method"], row["setting"], row["benchmark"], row["reported"]) == ("pruned", "base", "sizes", 134.52)


def test_mha2mla_s_table_4_stands_beside_our_counts():
    counts = pd.read_csv(ROOT / "recipes/mha2mla/reference/laptop/table_mha2mla.csv", keep_default_na=False)
    counts = counts[counts["benchmark"] == "params"]
    paper = pd.read_csv(ROOT / "recipes/mha2mla/paper_values.csv", keep_default_na=False)
    names = ["model", "method", "setting", "benchmark", "metric"]
    assert set(paper[paper["table"] == "T4"][names].itertuples(index=False, name=None)) == set(
        counts[names].itertuples(index=False, name=None)
    )


def test_a_benchmark_without_data_is_not_run_never_zero(table):
    row = one(table, benchmark="commonsense_arc")
    assert row["status"] == "not_run" and row["reason"] == "data: out of reach" and is_missing(row["value"])


def test_a_rate_has_wilson_s_interval_and_no_misses_is_not_certainty(table, items, claims, judged, paper, metrics):
    row = one(table, model="m_1", benchmark="commonsense_piqa")
    # Three hits of four by the formula: centre (p + z2/2n)/(1 + z2/n), half width z sqrt(p(1-p)/n + z2/4n2)/(1 + z2/n).
    z2, p, n = 1.959964**2, 0.75, 4
    centre, half = (p + z2 / (2 * n)) / (1 + z2 / n), math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((centre - half, centre + half), abs=1e-5)
    assert row["ci_method"] == "Wilson, one run"
    perfect = items.assign(score=items["score"].where(items["benchmark"] != "commonsense_piqa", 1.0))
    row = one(build_table(perfect, judged, claims, paper, metrics), model="m_1", benchmark="commonsense_piqa")
    assert row["value"] == 1.0 and row["ci_low"] < 0.6
    two = pd.concat([perfect, perfect[perfect["benchmark"] == "commonsense_piqa"].assign(seed=1)], ignore_index=True)
    row = one(build_table(two, judged, claims, paper, metrics), model="m_1", benchmark="commonsense_piqa")
    assert row["ci_method"] == "Wilson, two runs" and row["ci_low"] < 0.6  # a second run adds no items
    three = pd.concat([two, two[two["seed"] == 1].assign(seed=2)], ignore_index=True)
    row = one(build_table(three, judged, claims, paper, metrics), model="m_1", benchmark="commonsense_piqa")
    assert "Wilson at least" in row["ci_method"] and row["ci_low"] < 0.6


def test_only_hits_and_misses_of_a_declared_rate_have_wilson_s_interval(items, claims, judged, paper, metrics):
    def interval(change, kind="rate"):
        known = metrics | {"acc": metrics["acc"].model_copy(update={"kind": kind})}
        return one(build_table(change(items), judged, claims, paper, known), model="m_1", benchmark="commonsense_piqa")["ci_method"]

    mine = items["benchmark"] == "commonsense_piqa"
    assert interval(lambda frame: frame).startswith("Wilson")
    assert interval(lambda frame: frame, kind="mean").startswith("t or studentised over items")
    assert interval(lambda frame: frame.assign(score=frame["score"].where(~mine, frame["score"] / 2))).startswith(
        "t or studentised over items"
    )
    total = items[mine].head(1).assign(item_id="all")  # no hit or miss: a total over items that are not here
    assert interval(lambda frame: pd.concat([frame[~mine], total], ignore_index=True)) == "no interval: one item"


def test_claims_are_marked_on_the_rows_they_rest_on(table):
    marked = table[table["claim_id"].fillna("").str.contains("C1")]
    assert sorted(marked["method"]) == ["a&b_50%|x", "original"]
    assert set(marked["verdict"]) == {"proxy_agrees"} and set(marked["metric"]) == {"bits_per_byte"}


def test_direction_is_known(table):
    better = table.groupby("metric")["higher_is_better"].first()
    assert table.groupby("metric")["unit"].first()["answer_nll"] == "nats/token" and better["params_M"] is None
    assert not better["bits_per_byte"] and not better["answer_nll"] and better["acc"] and better["recovered_fraction"]


def test_weights_count_and_seeds_are_averaged_within_items(items, claims, judged, paper, metrics):
    more = items[(items["method"] == "original") & (items["metric"] == "bits_per_byte")].copy()
    more["seed"] = 1
    more["score"] += 0.4
    both = pd.concat([items, more], ignore_index=True)
    both.loc[(both["item_id"] == "0"), "weight"] = 3.0
    row = one(build_table(check_items(both), judged, claims, paper, metrics), method="original", metric="bits_per_byte")
    assert row["value"] == pytest.approx((3 * 1.2 + 1.4 + 1.3 + 1.1 + 1.2 + 1.4 + 1.3 + 1.1) / 10)
    assert row["n_seeds"] == 2


def test_an_item_that_a_seed_lacks_is_dropped_and_counted(items, claims, judged, paper, metrics):
    more = items[(items["method"] == "original") & (items["metric"] == "bits_per_byte") & (items["item_id"] != "3")].assign(seed=1)
    row = one(
        build_table(check_items(pd.concat([items, more], ignore_index=True)), judged, claims, paper, metrics),
        method="original",
        metric="bits_per_byte",
    )
    assert row["n_items"] == 7 and "1 items" in row["reason"]


def test_a_seed_without_a_score_is_named(items, claims, judged, paper, metrics):
    mine = items[(items["method"] == "original") & (items["metric"] == "bits_per_byte")]
    failed = mine.head(1).assign(seed=2, score=float("nan"), status="failed", reason="it died", item_id="all")
    table = build_table(pd.concat([items, mine.assign(seed=1), failed], ignore_index=True), judged, claims, paper, metrics)
    row = one(table, method="original", metric="bits_per_byte")
    assert (row["n_seeds"], row["reason"]) == (2, "no score of seed 2")


@pytest.fixture
def given(items, claims, paper, metrics, tmp_path):
    """The files that a table is made of, and the call."""
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [claims[0].model_dump(exclude_none=True)]}))
    paper.to_csv(tmp_path / "paper.csv", index=False)
    (tmp_path / "metrics.yaml").write_text(yaml.safe_dump({name: metric.model_dump() for name, metric in metrics.items()}))
    write_items(items, tmp_path / "i.parquet")
    write_runs(pd.DataFrame([{"run_id": "r1", "paper": "p", "scale": "smoke", "stage": "adapt"}]), tmp_path / "r.csv")

    def make(folder="out", **changes):
        out, claims_out = tmp_path / folder / "table.csv", tmp_path / folder / "claims.csv"
        files = {"claims": tmp_path / "claims.yaml", "paper_values": tmp_path / "paper.csv", "metrics": tmp_path / "metrics.yaml"}
        named = {"recipe": "p", "scale": "smoke", "items": [tmp_path / "i.parquet"], "runs": [tmp_path / "r.csv"]}
        make_table(**files, **(named | changes), out=out, claims_out=claims_out)
        return out.read_bytes(), claims_out.read_bytes()

    return make


def test_make_table_writes_the_same_bytes_twice(given, tmp_path):
    assert given("a") == given("b")
    assert set(pd.read_csv(tmp_path / "a/table.csv")["scale"]) == {"smoke"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": "laptop"}, r"i\.parquet: column 'scale', row 1 .*got 'smoke'; this table is of laptop"),
        ({"recipe": "q"}, r"i\.parquet: column 'paper', row 1 .*got 'p'; this table is of q"),
        ({"items": []}, "no items"),
        ({"runs": []}, "no runs"),
    ],
)
def test_rows_of_another_recipe_or_scale_are_refused(change, words, given, tmp_path):
    with pytest.raises(GalleyError, match=words):
        given(**change)
    assert not (tmp_path / "out").exists()


def test_items_whose_run_is_not_there_are_refused(given, tmp_path):
    write_runs(pd.DataFrame([{"run_id": "r2", "paper": "p", "scale": "smoke", "stage": "adapt"}]), tmp_path / "r.csv")
    with pytest.raises(GalleyError, match=r"r\.csv: column 'run_id': no run 'r1', which made "):
        given()


def test_another_seed_of_the_bootstrap_does_not_move_the_value(items, claims, paper, metrics):
    """The interval's seed comes from the row's own names: renaming a method moves the interval's ends a little, never the value."""
    renamed = items.assign(method=items["method"].replace({"original": "renamed"}))
    first = one(build_table(items, judge(claims, items, scale="smoke"), claims, paper, metrics), method="original", metric="bits_per_byte")
    second = one(
        build_table(renamed, judge(claims, renamed, scale="smoke"), claims, paper, metrics), method="renamed", metric="bits_per_byte"
    )
    assert first["value"] == second["value"] and first["ci_low"] == pytest.approx(second["ci_low"], abs=0.05)
