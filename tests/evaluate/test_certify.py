import json

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.evaluate import certify as module
from galley.evaluate.certify import COLUMNS, certify_likelihood, certify_longbench, copy_next, write_certificates
from galley.evaluate.long import longbench_metrics


@pytest.fixture
def sources(tmp_path):
    """Three multi_news items as a fetched source has them; everything else is absent."""
    news = tmp_path / "sources" / "longbench_multi_news"
    news.mkdir(parents=True)
    rows = [{"input": "", "context": "c", "answers": [f"{a} won the match. {b} lost it {c}."], "all_classes": None}
            for a, b, c in (("Ada", "Bob", "narrowly"), ("Cat", "Dan", "badly"), ("Eve", "Fay", "twice"))]  # fmt: skip
    (news / "multi_news.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (news / "source.json").write_text('{"status": "ok"}')
    (tmp_path / "sources" / "piqa_valid").mkdir()
    (tmp_path / "sources" / "piqa_valid" / "source.json").write_text('{"status": "absent"}')
    return tmp_path / "sources"


def test_absent_sources_are_not_run_with_a_reason_and_the_rest_is_certified(tmp_path):
    write_certificates(sources=tmp_path / "none", out=tmp_path / "table_certificates.csv", limit=3)
    table = pd.read_csv(tmp_path / "table_certificates.csv")
    assert list(table.columns) == COLUMNS
    absent = table[table["status"] == "not_run"]
    assert len(absent) == 16 + 6 + 7 and absent["value"].isna().all() and absent["reason"].str.contains("out of reach").all()
    done = table[table["status"] != "not_run"]
    assert (done["status"] == "ok").all() and set(done["benchmark"][~done["benchmark"].str.startswith("ruler_")]) == {
        "needle",
        "needlebench",
        "heldout",
    }
    needles = done[done["benchmark"] == "needle"].groupby("method")["value"]
    assert needles.count().to_dict() == {"corrupted:no_recall": 6, "gold": 6}
    assert needles.mean().to_dict() == {"corrupted:no_recall": 0.0, "gold": 1.0}


def test_gold_empty_and_exchanged_answers(sources):
    rows = {row["method"]: row for row in certify_longbench(sources, limit=3) if row["status"] != "not_run"}
    assert rows["gold"]["value"] == pytest.approx(1.0, abs=1e-7) and rows["gold"]["status"] == "ok"
    assert rows["corrupted:empty"]["value"] == 0.0
    # Near-identical summaries are told apart too little here, and the certificate says so.
    assert 0.25 < rows["corrupted:exchanged"]["value"] < 1.0 and rows["corrupted:exchanged"]["status"] == "failed"


@pytest.mark.parametrize("broken", [lambda *_: 1.0, lambda *_: 0.0, lambda p, g, c=(): 0.5 * (p == g)])
def test_a_broken_metric_is_not_certified(sources, monkeypatch, broken):
    monkeypatch.setitem(longbench_metrics.METRICS, "multi_news", broken)
    rows = [row for row in certify_longbench(sources, limit=3) if row["status"] != "not_run"]
    assert "failed" in {row["status"] for row in rows}


def test_a_failed_certificate_is_written_and_then_stops_the_run(sources, tmp_path, monkeypatch):
    monkeypatch.setitem(longbench_metrics.METRICS, "multi_news", lambda *_: 0.0)
    with pytest.raises(GalleyError, match=r"longbench_multi_news on gold: score is 0, but must be 0\.999 to 1"):
        write_certificates(sources=sources, out=tmp_path / "t.csv", limit=3)
    table = pd.read_csv(tmp_path / "t.csv")
    assert table[table["status"] == "failed"]["benchmark"].tolist() == ["longbench_multi_news"]


def test_one_item_cannot_be_exchanged(tmp_path):
    with pytest.raises(GalleyError, match="limit is 1"):
        write_certificates(sources=tmp_path, out=tmp_path / "t.csv", limit=1)


def test_the_copying_rule():
    assert copy_next([1, 2, 3, 9, 1, 2]) == 3
    assert copy_next([5, 2, 7, 1, 2, 8, 5, 2]) == 7  # the longer match wins over the later one
    assert copy_next([4]) == 4


def test_likelihood_certificates_fail_for_a_wrong_byte_count(monkeypatch):
    from galley.data.corpus import pydoc_documents

    prose = pydoc_documents(max_bytes=60_000)
    assert {row["status"] for row in certify_likelihood(prose)} == {"ok"}
    real = module.score_windows

    def off_by_one(model, windows, **more):
        return real(model, windows, **more).assign(score=lambda f: f["score"] * 127 / 128)

    monkeypatch.setattr(module, "score_windows", off_by_one)
    assert [row["status"] for row in certify_likelihood(prose)] == ["failed", "ok", "ok"]
