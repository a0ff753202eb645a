"""Hub data sets through local folders: the same `load_dataset(..., streaming=True)`, without a network."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.data import hub, hub_benchmarks, mixture
from galley.data.corpus import prepare_corpus, read_split
from galley.data.hub import HubData, Rows, read_hub_data

WEIGHTS = {"web": 0.7, "math": 0.2, "code": 0.1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three data sets: parquet, JSON lines, and JSON lines in two files."""
    root = tmp_path_factory.mktemp("hub")
    made = {}
    for name, n in (("web", 400), ("math", 300), ("code", 300)):
        folder = root / name
        folder.mkdir()
        rows = [{"text": f"{name} {i} " * (5 + i % 17), "n": i} for i in range(n)]
        if name == "web":
            pd.DataFrame(rows).to_parquet(folder / "train.parquet")
        else:
            half = n if name == "math" else n // 2
            for part in range(0, n, half):
                lines = [json.dumps(row) for row in rows[part : part + half]]
                (folder / f"train-{part:05d}.jsonl").write_text("\n".join(lines) + "\n")
        made[name] = (HubData(kind="text", repo=str(folder), licence="none"), None)
    return made


def write(folder, data, **changes):
    settings = {"total": 30_000, "held_fraction": 0.1, "seed": 0, **changes}
    return mixture.write_mixture(folder, data, WEIGHTS, **settings)


def documents(folder):
    return {split: read_split(folder, split) for split in mixture.SPLITS}


def test_shares_of_bytes_follow_the_weights_and_splits_do_not_leak(folders, tmp_path):
    facts = write(tmp_path / "a", folders)
    found = documents(tmp_path / "a")
    everything = [row for rows in found.values() for row in rows]
    sizes = {name: sum(len(row["text"].encode()) for row in everything if row["source"] == name) for name in WEIGHTS}
    total = sum(sizes.values())
    longest = max(len(row["text"]) for row in everything)
    assert 30_000 <= total < 30_000 + longest
    assert all(abs(sizes[name] - weight * total) <= 2 * longest for name, weight in WEIGHTS.items())
    assert len({row["text"] for row in everything}) == len(everything) == sum(f["documents"] for s in facts.values() for f in s.values())
    assert 0.05 < len(found["heldout"]) / len(everything) < 0.2
    order = [int(row["text"].split()[1]) for row in found["train"] if row["source"] == "web"]
    assert order == sorted(order)  # each set is read in order
    write(tmp_path / "b", folders)
    assert documents(tmp_path / "b") == found
    assert {row["text"] for row in found["heldout"]} != {row["text"] for row in _heldout(folders, tmp_path / "c")}


def _heldout(folders, folder):
    write(folder, folders, seed=1)
    return read_split(folder, "heldout")


@pytest.mark.parametrize("stop", [70, 150, 290])
def test_an_interrupted_download_goes_on_and_ends_in_the_same_bytes(folders, tmp_path, monkeypatch, stop):
    monkeypatch.setattr(mixture, "KEEP_EVERY", 2_000)
    write(tmp_path / "whole", folders)
    seen, original = [], mixture.split_of_text

    def killed(text, **kwargs):
        seen.append(text)
        if len(seen) == stop:
            raise KeyboardInterrupt
        return original(text, **kwargs)

    monkeypatch.setattr(mixture, "split_of_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", folders)
    seen.clear()
    stop = -1
    monkeypatch.setattr(mixture, "split_of_text", lambda text, **k: seen.append(text) or original(text, **k))
    write(tmp_path / "cut", folders)
    for split in mixture.SPLITS:
        assert (tmp_path / f"cut/{split}.jsonl").read_bytes() == (tmp_path / f"whole/{split}.jsonl").read_bytes()
    assert len(seen) < sum(map(len, documents(tmp_path / "whole").values()))  # it did not start again
    assert not (tmp_path / "cut/position.json").exists()


def test_the_corpus_holds_the_mixture_and_this_machine_s_own_text(folders, tmp_path):
    prepare_corpus(
        out=tmp_path / "corpus", texts={}, seed=0, max_bytes={"pydoc": 50_000},
        mixture=lambda folder: write(folder, folders),
    )  # fmt: skip
    sources = {row["source"] for row in read_split(tmp_path / "corpus", "train")}
    assert sources == {*WEIGHTS, "pydoc"}
    facts = json.loads((tmp_path / "corpus/corpus.json").read_text())["splits"]
    assert facts["train"]["web"]["documents"] == sum(row["source"] == "web" for row in read_split(tmp_path / "corpus", "train"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


def test_too_short_a_set_and_a_wrong_column_name_the_way_out(folders, tmp_path):
    with pytest.raises(GalleyError, match=r"has no more documents; lower corpus\.mixture_bytes"):
        write(tmp_path / "x", folders, total=10**7)
    data, _ = folders["web"]
    wrong = {**folders, "web": (data.model_copy(update={"column": "body"}), None)}
    with pytest.raises(GalleyError, match=r"no column 'body'; it has text, n"):
        write(tmp_path / "y", wrong)
    with pytest.raises(GalleyError, match="could not be streamed"):
        Rows(HubData(kind="text", repo=str(tmp_path / "nowhere"), licence="none"), None)


def test_blob_ids_are_fetched_from_the_archive(tmp_path, monkeypatch):
    files = {f"b{i}": gzip.compress(f"print({i})\n".encode()) for i in range(100)}

    class Archive(BaseHTTPRequestHandler):
        def do_GET(self):
            body = files.get(self.path.lstrip("/"))
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # of five waiting connections the sixth would try again after a second

    with Server(("127.0.0.1", 0), Archive) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(hub, "BLOBS", f"http://127.0.0.1:{server.server_port}/{{blob}}")
        (tmp_path / "d").mkdir()
        ids = [f"b{i}" for i in range(100)]
        ids[3] = "gone"
        (tmp_path / "d/train.jsonl").write_text("\n".join(json.dumps({"blob_id": b}) for b in ids) + "\n")
        data = HubData(kind="text", repo=str(tmp_path / "d"), column="blob_id", blobs=True, licence="none")
        texts = [text for rows in Rows(data, None).take() for text in hub.texts_of(rows, data)]
        server.shutdown()
    assert texts == [f"print({i})\n" for i in range(100) if i != 3]


def registry(root, entry, *, pin="0" * 40):
    (root / "datasets.yaml").write_text(json.dumps({"hub_x": entry}))
    row = {entry["repo"]: {"kind": "dataset", "commit": pin, "date": "2026-11-25", "by": "a test"}}
    (root / "revisions.yaml").write_text(json.dumps(row if pin else {}))


def test_a_benchmark_becomes_a_source_with_its_commit(folders, tmp_path, monkeypatch):
    data, _ = folders["math"]
    registry(tmp_path, {"kind": "benchmark", "repo": data.repo, "licence": "MIT"})
    assert hub_benchmarks.is_hub_benchmark("hub_x", recipes=tmp_path) and not hub_benchmarks.is_hub_benchmark("piqa", recipes=tmp_path)
    record = hub_benchmarks.fetch_benchmark("hub_x", out=tmp_path / "out", recipes=tmp_path)
    assert record["status"] == "ok" and record["items"] == 300 and record["origin"]["revision"] == "0" * 40
    assert len((tmp_path / "out/items.jsonl").read_text().splitlines()) == 300
    registry(tmp_path, {"kind": "benchmark", "repo": data.repo, "licence": "MIT"}, pin="")
    with pytest.raises(GalleyError, match=r"has no commit in .*galley pin"):
        hub_benchmarks.fetch_benchmark("hub_x", out=tmp_path / "none", recipes=tmp_path)
    record = hub_benchmarks.fetch_benchmark("hub_x", out=tmp_path / "none", recipes=tmp_path, optional=True)
    assert record["status"] == "absent" and "galley pin" in record["tried"][0]


def test_the_registry_of_the_recipes_is_whole_and_a_wrong_one_is_refused(tmp_path):
    from pathlib import Path

    from galley.plan import read_plan_of

    known = read_hub_data(Path("recipes"))
    mixed = read_plan_of("mha2mla", "paper").corpus.mixture
    assert set(mixed) == {name for name, data in known.items() if data.kind == "text"} and sum(mixed.values()) == pytest.approx(1)
    (tmp_path / "datasets.yaml").write_text("x: {kind: text, repo: a/b, licens: MIT}")
    with pytest.raises(GalleyError, match="licens"):
        read_hub_data(tmp_path)
