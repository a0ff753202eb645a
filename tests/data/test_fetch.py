"""Fetching against a local server: resumed, retried, locked, checked; nothing half-written is left."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from tenacity import wait_none

from galley.artifact import GalleyError
from galley.data import fetch as module
from galley.data.fetch import _extract, fetch
from galley.data.sources import GitHub

BODY = bytes(range(256)) * 4000  # 1 MB
COMMIT = "a" * 40


class Server:
    """Serves BODY; `cut` ends the first answers early, `status` replaces them."""

    def __init__(self):
        self.requests, self.cut, self.status, self.body = [], [], [], BODY
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                have = self.headers.get("Range")
                outer.requests.append(have)
                if outer.status:
                    self.send_error(outer.status.pop(0))
                    return
                start = int(have[6:-1]) if have else 0
                if start >= len(outer.body):
                    self.send_error(416)
                    return
                body = outer.body[start:]
                self.send_response(206 if have else 200)
                self.send_header("Content-Length", str(len(body)))
                if have:
                    self.send_header("Content-Range", f"bytes {start}-{len(outer.body) - 1}/{len(outer.body)}")
                self.end_headers()
                self.wfile.write(body[: outer.cut.pop(0)] if outer.cut else body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def server(monkeypatch, tmp_path):
    served = Server()
    monkeypatch.setattr(module, "GITHUB_RAW", served.url + "/{repo}/{commit}/{path}")
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "cache"))
    yield served
    served.server.shutdown()


def registry(tmp_path, *, sha=None, origins=None):
    entry = {
        "what": "bytes",
        "licence": "none",
        "files": {"data.bin": {"sha256": sha or hashlib.sha256(BODY).hexdigest(), "bytes": len(BODY)}},
        "origins": origins or [{"kind": "github", "repo": "a/b", "commit": COMMIT}],
    }
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"bytes": entry}))
    return path


def leftovers(folder):
    return [p for p in Path(folder).rglob("*") if p.is_file() and (".part" in p.name or p.name == "data.bin")]


def test_first_download_and_then_the_cache(server, tmp_path):
    record = fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None)
    assert record["status"] == "ok" and (tmp_path / "out/data.bin").read_bytes() == BODY
    fetch("bytes", out=tmp_path / "again", sources=registry(tmp_path), mirror=None)
    assert len(server.requests) == 1


def test_a_file_may_have_another_name_in_the_repository(server):
    origin = GitHub(kind="github", repo="a/b", commit=COMMIT, folder="data", paths={"data.bin": "deep/other name.bin"})
    assert module.file_url(origin, "data.bin").endswith(f"/a/b/{COMMIT}/data/deep/other%20name.bin")
    assert module.file_url(origin, "plain.bin").endswith(f"/a/b/{COMMIT}/data/plain.bin")


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cut = [300_000]
    fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None)
    assert (tmp_path / "out/data.bin").read_bytes() == BODY
    assert server.requests[0] is None and server.requests[1].startswith("bytes=")


def test_a_server_error_is_retried(server, tmp_path):
    server.status = [503]
    fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None)
    assert len(server.requests) == 2


def test_a_wrong_checksum_is_one_error_and_leaves_nothing(server, tmp_path):
    with pytest.raises(GalleyError, match="sha256"):
        fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path, sha="0" * 64), mirror=None)
    assert not leftovers(tmp_path / "out") and not leftovers(tmp_path / "cache")


def test_absent_everywhere(server, tmp_path):
    server.status = [404] * 10
    with pytest.raises(GalleyError, match="GALLEY_MIRROR"):
        fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None)
    record = fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None, optional=True)
    assert record["status"] == "absent" and json.loads((tmp_path / "out/source.json").read_text())["tried"]
    assert not leftovers(tmp_path / "out")


def test_no_network(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module._attempt.retry, "wait", wait_none())  # four attempts still, without the pauses between them
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(GalleyError, match="no connection"):
        fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None)


def test_a_full_disk_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 9, 1))
    with pytest.raises(GalleyError, match=r"needs .* MB .* free"):
        fetch("bytes", out=tmp_path / "out", sources=registry(tmp_path), mirror=None)
    assert not leftovers(tmp_path) and not server.requests


def test_the_mirror_comes_first_and_is_checked_too(server, tmp_path):
    mirror = tmp_path / "mirror/bytes"
    mirror.mkdir(parents=True)
    (mirror / "data.bin").write_bytes(BODY)
    sources = registry(tmp_path, origins=[{"kind": "mirror", "folder": "bytes"}, {"kind": "github", "repo": "a/b", "commit": COMMIT}])
    assert fetch("bytes", out=tmp_path / "out", sources=sources, mirror=tmp_path / "mirror")["origin"]["kind"] == "mirror"
    (mirror / "data.bin").write_bytes(BODY[:-1] + b"x")
    with pytest.raises(GalleyError, match="sha256"):
        fetch("bytes", out=tmp_path / "out", sources=sources, mirror=tmp_path / "mirror")
    (mirror / "data.bin").unlink()
    assert fetch("bytes", out=tmp_path / "out", sources=sources, mirror=tmp_path / "mirror")["origin"]["kind"] == "github"


def test_two_jobs_at_once_download_once(server, tmp_path):
    script = (
        "import sys; from pathlib import Path; from galley.data import fetch as m; m.GITHUB_RAW = sys.argv[1] + '/{repo}/{commit}/{path}';"
        "m.fetch('bytes', out=Path(sys.argv[2]), sources=Path(sys.argv[3]), mirror=None)"
    )
    sources = registry(tmp_path)
    jobs = [subprocess.Popen([sys.executable, "-c", script, server.url, str(tmp_path / f"out{i}"), str(sources)]) for i in range(2)]
    assert [job.wait(60) for job in jobs] == [0, 0]
    assert len(server.requests) == 1
    assert all((tmp_path / f"out{i}/data.bin").read_bytes() == BODY for i in range(2))


def test_an_unknown_source_lists_the_known(tmp_path):
    with pytest.raises(GalleyError, match=r"'other'.*bytes"):
        fetch("other", out=tmp_path, sources=registry(tmp_path), mirror=None)


def test_a_member_of_a_wheel(tmp_path):
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/data.bin", b"inside")
    _extract(wheel, "x/data.bin", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"inside"


def test_the_member_dot_is_the_archive_itself(tmp_path):
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/data.bin", b"inside")
    _extract(wheel, ".", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == wheel.read_bytes()
