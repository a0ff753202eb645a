"""A whole run without network, mirror or cache: it falls back on the standard library's text, and says so."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from tree import TABLE

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]


def test_the_network_was_really_out(finished):
    asked = (finished.folder / "unreachable/attempts").read_text().splitlines()
    assert len(asked) >= len(list(finished.folder.glob("results/sources/*"))), "the sources were not even asked for"
    probe = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    done = subprocess.run([sys.executable, "-c", probe], env=finished.env, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Network is unreachable" in done.stderr


def test_it_runs_on_generated_text_alone(finished):
    sources = {p.parent.name: json.loads(p.read_text()) for p in finished.folder.glob("results/sources/*/source.json")}
    assert len(sources) >= 6
    for name, record in sources.items():
        assert record["status"] == "absent" and record["tried"] and name in record["source"]
        assert "GALLEY_MIRROR" in record["how_to_supply"]
    splits = json.loads((finished.folder / "results/smoke/corpus/corpus.json").read_text())["splits"]
    assert {source for split in splits.values() for source in split} == {"stdlib", "pydoc"}


def test_the_table_has_numbers_and_a_reason_for_each_that_is_missing(finished):
    table = pd.read_csv(finished.folder / TABLE)
    held = table[(table["benchmark"] == "heldout") & (table["metric"] == "bits_per_byte")]
    assert len(held) and held["value"].gt(0).all() and (table["scale"].dropna() == "smoke").all()
    absent = table[table["status"] == "not_run"]
    assert len(absent) and absent["reason"].str.len().gt(10).all() and absent["value"].isna().all()
    data = absent[absent["benchmark"].isin(["piqa", "hellaswag", "longbench_multi_news"])]
    assert len(data) and data["reason"].str.contains("out of reach").all()


def test_every_form_of_the_table_ends_with_the_sources_that_were_out_of_reach(finished):
    for name in ("table_mha2mla.md", "table_mha2mla.html", "table_mha2mla.tex", "certificate_mha2mla.md", "certificate_mha2mla.html"):
        text = (finished.folder / "results" / name).read_text()
        _, found, after = text.partition("Sources out of reach")
        assert found and "shakespeare" in after and "piqa" in after, name


def test_the_evidence_names_the_text_of_every_window(finished):
    items = pd.concat(map(pd.read_parquet, finished.folder.glob("results/smoke/mha2mla/*/arms-*.items.parquet")))
    scored = items[(items["benchmark"] == "heldout") & (items["metric"] == "bits_per_byte")]
    assert {item.split("/")[0] for item in scored["item_id"]} == {"stdlib", "pydoc"}


def test_the_exact_claims_hold_on_any_data(finished):
    claims = pd.read_csv(finished.folder / "results/claims_mha2mla.csv")
    exact = claims[claims["claim_id"].str.match(r"A\d")]
    assert len(exact) and (exact["verdict"] == "reproduced").all()
