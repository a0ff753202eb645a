"""What `galley run` asks of Snakemake, and what it gives its jobs."""

import shutil
import sys
from pathlib import Path

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
