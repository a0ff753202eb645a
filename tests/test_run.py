"""What `galley run` asks of Snakemake, and what it takes for a living or a dead run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from galley import run
from galley.artifact import GalleyError


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "recipe_names", lambda folder: ["one", "two"])
    return tmp_path


def words(made, *more, **options):
    config = {name: options.pop(name, None) for name in ("scale", "seeds")}
    return run.words_for(made, config=config, **({"cores": None, "profile": None, "dry_run": False} | options), more=list(more))


def test_a_recipe_is_its_table_and_anything_with_a_slash_is_a_file(project):
    assert run.targets(["one", "all", "results/x/y.csv"]) == ["results/table_one.csv", "all", "results/x/y.csv"]
    with pytest.raises(GalleyError, match=r"RECIPE is 'three'; it takes one, two, all, or a file such as results/table_mha2mla\.csv"):
        run.targets(["one", "three"])
    (project / "Snakefile").unlink()
    with pytest.raises(GalleyError, match=r"there is no Snakefile in .*; run it in the project's folder"):
        run.targets(["one"])


def test_options_become_config_and_snakemake_s_own_words_are_joined_to_them():
    assert words(["all"]) == ["--cores", "all", "all"]
    assert words(["t"], scale="smoke", seeds=3, cores="2", dry_run=True) == [
        "--cores",
        "2",
        "t",
        "--dry-run",
        "--config",
        "scale=smoke",
        "seeds=3",
    ]
    assert words(["t"], profile="profiles/slurm") == ["--profile", "profiles/slurm", "t"]
    assert words(["t"], "--config", "effort=2", "missing=accept", "-F", "--jobs", "3", scale="smoke") == [
        "--cores", "all", "t", "-F", "--jobs", "3", "--config", "scale=smoke", "effort=2", "missing=accept",
    ]  # fmt: skip


def test_what_is_snakemake():
    assert run.is_snakemake(["/opt/env/bin/python", "/opt/env/bin/snakemake", "--cores", "1"])
    assert run.is_snakemake(["python", "-m", "snakemake", "all"]) and run.is_snakemake(["snakemake"])
    assert not run.is_snakemake(["vim", "notes", "snakemake"]) and not run.is_snakemake([])


def test_a_dead_run_s_processes_are_found_by_their_mark_and_ended(tmp_path):
    """Those that ignore SIGTERM too; another folder's stay."""
    command = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"]
    started = [
        subprocess.Popen(command, env=os.environ | {run.MARK: str(folder)}, stdout=subprocess.PIPE) for folder in (tmp_path, tmp_path / "x")
    ]
    for process in started:
        process.stdout.readline()
    left, living = run.found(tmp_path)
    assert [process.pid for process in left] == [started[0].pid] and living == []
    run.GRACE_S, before = 0.2, run.GRACE_S
    try:
        run.end(left)
    finally:
        run.GRACE_S = before
    assert started[0].wait() == -9 and started[1].poll() is None
    assert psutil.Process().pid not in {process.pid for process in left}
    started[1].kill()
    started[1].wait()


def test_tidying_takes_what_nobody_owns_and_no_result(tmp_path, monkeypatch):
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path / "tmp"))
    dead = [
        "results/a/.x.csv.abcdefgh.part/.owner", "results/a/.x.lock", "logs/a/x.log.progress", "logs/a/x.log.progress.12",
        "cache/s/.y.zip.abcdefgh.part/.owner", "tmp/galley-run-abcdefgh/.owner", ".snakemake/shell_tmp.abc/script.sh",
    ]  # fmt: skip
    kept = ["results/a/x.csv", "results/a/state/1/u.json", "logs/a/x.log", "cache/s/y.zip", "cache/s/z.zip.part", "tmp/another/file"]
    for name in (*dead, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert run.tidy(tmp_path) == 3
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)
    assert not any(p.name.endswith(".part") and p.is_dir() for p in tmp_path.rglob("*")) and not list((tmp_path / ".snakemake").iterdir())


def test_a_run_s_jobs_get_a_temporary_folder_that_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    with run.own_temporary():
        own = Path(run.tempfile.mkdtemp())
        assert own.parent.parent == tmp_path and own.parent.name.startswith(run.TEMPORARY)
    assert list(tmp_path.iterdir()) == [] and run.tempfile.tempdir == str(tmp_path)


def test_the_jobs_find_this_environment_s_commands_though_it_is_not_activated(tmp_path, monkeypatch):
    other = tmp_path / "galley"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run.own_commands()
    assert shutil.which("galley") == str(Path(sys.executable).parent / "galley")
