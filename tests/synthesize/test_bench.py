import json

from galley.synthesize import bench


def test_after_a_kill_no_ended_program_is_run_again_and_the_rows_are_the_same(tmp_path, monkeypatch):
    n = 120
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    seconds = bench._child(whole, n=n, workers=1)
    bench._child(cut, n=n, workers=1, kills=1, expected_s=max(0.0, seconds - 1))
    ended = (cut / "ended.log").read_text().split()
    assert len(ended) == len(set(ended)) and set(ended) == set((whole / "ended.log").read_text().split())
    assert (cut / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    rows = [json.loads(line) for line in (whole / "rows.jsonl").read_text().splitlines()]
    assert [row["number"] for row in rows] == list(range(n)) and sum(row["round"] for row in rows) == n // 10
    assert all(row["passed"] for row in rows if row["number"] % 10 != 3)


def test_the_report_tells_what_failed(tmp_path):
    for name, peak, ended in (("tenth", 50.0, "a\nb\n"), ("whole", 60.0, "a\nb\na\n")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "rss.jsonl").write_text(json.dumps([1, peak]) + "\n")
        (folder / "ended.log").write_text(ended)
        (folder / "rows.jsonl").write_text('{"passed": true}\n' * (2 if name == "tenth" else 19))
    rows = bench.report(tmp_path / "tenth", tmp_path / "whole", programs=20, kills=3, first=1.0, seconds=9.0, workers=2)
    met = {row["metric"]: row["met"] for row in rows if row["met"] is not None}
    assert met == {"peak_rss_over_that_of_a_tenth": False, "programs_without_a_row": False, "ended_programs_run_again": False,
                   "rows_unlike_an_uninterrupted_run": True}  # fmt: skip
