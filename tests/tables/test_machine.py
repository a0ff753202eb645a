import os
import subprocess
from importlib import metadata

import pytest

from galley.tables import machine
from galley.tables.machine import FACTS, commit, gpus, made_with


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "src/galley").mkdir(parents=True)
    file = tmp_path / "src/galley/__init__.py"
    file.write_text("")
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".gitignore").write_text("results/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path, file


def test_the_facts_of_this_process_are_texts_and_the_same_twice():
    facts = made_with()
    assert list(facts) == FACTS and all(isinstance(value, str) and value == " ".join(value.split()) for value in facts.values())
    assert facts["torch"] == metadata.version("torch") and facts["cores"] == str(os.cpu_count()) and int(facts["memory_gib"]) > 0
    assert facts["cpu"] and facts["os"]
    machine.made_with.cache_clear()
    assert made_with() == facts


def test_a_checkout_has_its_commit_and_is_dirty_where_what_decides_differs(checkout, monkeypatch):
    folder, file = checkout
    clean = git(folder, "rev-parse", "--short=12", "HEAD")
    assert commit(file) == clean
    (folder / "results").mkdir()
    (folder / "results/table.csv").write_text("made")
    (folder / "log.txt").write_text("a user's own")
    (folder / "README.md").write_text("no page decides a number")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another checkout
    assert commit(file) == clean
    (folder / "src/galley/new.py").write_text("")
    assert commit(file) == f"{clean}-dirty"
    (folder / "src/galley/new.py").unlink()
    file.write_text("changed")
    assert commit(file) == f"{clean}-dirty"


def test_what_is_installed_in_a_checkout_of_something_else_has_no_commit(checkout, tmp_path_factory, monkeypatch):
    folder, file = checkout
    inside = folder / "venv/galley"
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text("")
    assert commit(inside / "__init__.py") == ""
    outside = tmp_path_factory.mktemp("plain") / "__init__.py"
    outside.write_text("")
    assert commit(outside) == ""
    monkeypatch.setenv("PATH", str(folder))  # without git
    assert commit(file) == ""


def test_reading_the_commit_writes_nothing(checkout):
    folder, file = checkout
    file.touch()  # git would refresh its index
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    commit(file)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_gpus_are_named_and_counted(tmp_path):
    assert gpus(tmp_path / "none") == ""
    for at, name in enumerate(["NVIDIA H200", "NVIDIA A100", "NVIDIA H200"]):
        (tmp_path / f"0000:{at}").mkdir()
        (tmp_path / f"0000:{at}/information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 19\n")
    assert gpus(tmp_path) == "1 x NVIDIA A100, 2 x NVIDIA H200"
