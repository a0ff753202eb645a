"""What a run that was killed left is known for sure, and nobody else's files are touched."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from galley import leftovers


def test_what_is_snakemake():
    assert leftovers.is_snakemake(["/opt/env/bin/python", "/opt/env/bin/snakemake", "--cores", "1"])
    assert leftovers.is_snakemake(["python", "-m", "snakemake", "all"]) and leftovers.is_snakemake(["snakemake"])
    assert not leftovers.is_snakemake(["vim", "notes", "snakemake"]) and not leftovers.is_snakemake([])


def test_a_dead_run_s_processes_are_found_by_their_mark_and_ended(tmp_path):
    """Those that ignore SIGTERM too; another folder's stay."""
    command = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"]
    started = [
        subprocess.Popen(command, env=os.environ | {leftovers.MARK: str(folder)}, stdout=subprocess.PIPE)
        for folder in (tmp_path, tmp_path / "x")
    ]
    for process in started:
        process.stdout.readline()
    left, living = leftovers.found(tmp_path)
    assert [process.pid for process in left] == [started[0].pid] and living == []
    leftovers.GRACE_S, before = 0.2, leftovers.GRACE_S
    try:
        leftovers.end(left)
    finally:
        leftovers.GRACE_S = before
    assert started[0].wait() == -9 and started[1].poll() is None
    assert psutil.Process().pid not in {process.pid for process in left}
    started[1].kill()
    started[1].wait()


def lay(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one source, its cache and its temporary folder."""
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(leftovers.tempfile, "tempdir", str(tmp_path / "tmp"))
    entry = {
        "what": "a",
        "licence": "none",
        "files": {"y.zip": {"sha256": "0" * 64, "bytes": 1}},
        "origins": [{"kind": "mirror", "folder": "s"}],
    }
    lay(tmp_path, {"recipes/sources.yaml": json.dumps({"s": entry})})
    return tmp_path


STATE = json.dumps({"what": "arms", "done": 1, "total": 3, "rate": 0.5, "when": 1e9})


def test_tidying_takes_what_nobody_owns_and_no_result(project):
    dead = [
        "results/a/.x.csv.abcdefgh.part/.galley.owner", "results/a/.x.galley.lock", "logs/a/x.log.progress", "logs/a/x.log.progress.12",
        "cache/s/.y.zip.abcdefgh.part/.galley.owner", "cache/.s.galley.lock", "tmp/galley-run-abcdefgh/.galley.owner",
        ".snakemake/shell_tmp.abc/script.sh",
    ]  # fmt: skip
    kept = ["results/a/x.csv", "results/a/state/1/u.json", "logs/a/x.log", "cache/s/y.zip", "cache/s/z.zip.part", "tmp/another/file"]
    lay(project, {name: STATE if ".progress" in name else "" for name in (*dead, *kept)})
    assert leftovers.tidy(project) == 3
    found = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    assert found == sorted([*kept, "recipes/sources.yaml"])
    assert not any(path.name.endswith(".part") and path.is_dir() for path in project.rglob("*"))
    assert not list((project / ".snakemake").iterdir())


def test_tidying_leaves_what_others_made(project):
    """However alike it is named, however old it is, and wherever it lies."""
    foreign = {
        f"{top}/{name}": text
        for top in ("results", "results/a", "logs", "cache", "cache/s", "cache/another", "tmp")
        for name, text in {
            ".x.lock": "", ".uv.lock": "held", ".x.abcdefgh.part": "half", ".y.abcdefgh.part/file": "half", ".y.abcdefgh.part/.owner": "me",
            "x.log.progress": "half way", "y.log.progress.7": "{}", "z.log.progress": '{"done": 1}', "galley-run-notes/mine": "notes",
        }.items()
    }  # fmt: skip
    elsewhere = {"cache/another/x.log.progress.1": STATE, "cache/s/x.log": "", "cache/another/.q.galley.lock": ""}
    lay(project, foreign | elsewhere)
    old = time.time() - 30 * 24 * 3600
    for path in [*project.rglob("*")]:
        os.utime(path, (old, old))
    assert leftovers.tidy(project) == 0
    assert [name for name in foreign | elsewhere if not (project / name).is_file()] == []
