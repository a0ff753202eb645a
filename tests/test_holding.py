"""Locks end with their process; a leftover is swept when its maker is gone, and not before."""

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from galley import cli, holding, stage_commands
from galley.artifact import file_lock
from galley.recipe import recipe_names
from galley.stage import Stages

ROOT = Path(__file__).parents[1]

WRITES = """
import sys, time
from pathlib import Path
from galley.artifact import atomic_dir, atomic_path, file_lock
target = Path(sys.argv[1])
with file_lock(target), atomic_path(target) as part, atomic_dir(target.with_name("folder")) as folder:
    part.unlink()
    part.write_text("half")  # as some libraries do: another file under the same name
    (folder / "weights").write_text("half")
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of two atomic writes, under a lock."""
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path / "a.txt")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    yield process
    process.kill()
    process.wait()


def hidden(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_living_maker_s_parts_stay_and_a_dead_one_s_go(tmp_path, writer):
    before = hidden(tmp_path)
    assert len(before) == 3 and holding.sweep(tmp_path) == 0 and not holding.free(tmp_path / ".a.txt.galley.lock")
    assert hidden(tmp_path) == before
    writer.kill()
    writer.wait()
    assert holding.sweep(tmp_path) == 2 and holding.free(tmp_path / ".a.txt.galley.lock")
    assert hidden(tmp_path) == []


def test_the_next_write_in_a_folder_sweeps_it(tmp_path, writer):
    writer.kill()
    writer.wait()
    code = "import sys; from pathlib import Path; from galley.artifact import write_text; write_text(Path(sys.argv[1]), 'x')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.txt")], check=True)
    assert hidden(tmp_path) == [".a.txt.galley.lock", "b.txt"]


def test_who_waits_says_for_whom_and_goes_on_when_it_is_gone(tmp_path, writer, capsys):
    signal.signal(signal.SIGALRM, lambda *_: writer.kill())
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with file_lock(tmp_path / "a.txt"):
        said = capsys.readouterr().err
        assert holding.claim(tmp_path / ".a.txt.galley.lock") is None
    assert said.count("\n") == 1 and f"process {writer.pid}" in said and "a.txt" in said and "waits" in said, said
    assert not (tmp_path / ".a.txt.galley.lock").exists()


def test_sigterm_and_ctrl_c_remove_the_parts_themselves(tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT):
        code = WRITES.replace("with file_lock", "from galley.interruption import ending\nwith ending(), file_lock")
        command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        said = process.communicate()[1]
        assert process.returncode == 128 + number and said.count("\n") == 1 and "the same command goes on" in said, said
        assert hidden(tmp_path) == []


def test_a_lock_that_its_holder_removed_is_taken_anew(tmp_path):
    """Between opening and locking the file may go: whoever locks what has no name any more holds nothing."""
    turns = """
import sys, time
from pathlib import Path
from galley.artifact import file_lock
counter = Path(sys.argv[1])
for _ in range(100):
    with file_lock(counter):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    counter = tmp_path / "counter"
    counter.write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", turns, str(counter)], stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert counter.read_text() == "300" and hidden(tmp_path) == ["counter"]


def commands(app, words=()):
    for command in app.registered_commands:
        yield (*words, command.name or command.callback.__name__), command.callback
    for group in app.registered_groups:
        yield from commands(group.typer_instance, (*words, *([group.name] if group.name else [])))


def test_every_command_holds_what_it_makes():
    """One job at a time makes a thing: `sole` holds `out`, a stage its rows, the table its own; benches measure and are run alone."""
    stages = {name.replace("_", "-") for name in recipe_names(ROOT / "recipes")}
    loose = {
        words[-1]
        for words, call in commands(cli.app)
        if "out" in inspect.signature(call).parameters and words[0] not in stages and not hasattr(call, "__wrapped__")
    }
    assert loose == {"bench"}


def test_a_stage_waits_for_the_process_that_makes_its_rows(tmp_path, monkeypatch, capsys):
    stage = Stages("mha2mla")

    @stage()
    def nothing(job) -> None:
        assert holding.claim(job.out / ".nothing.galley.lock") is None, "the stage does not hold its rows"

    monkeypatch.chdir(ROOT)
    stage_commands.command(stage["nothing"])(out=tmp_path, scale="smoke")
    assert hidden(tmp_path) == []


def test_a_part_without_an_owner_is_another_s_and_an_empty_one_goes_by_age(tmp_path):
    for name in (".old.abcdefgh.part", ".new.abcdefgh.part", ".another.abcdefgh.part"):
        (tmp_path / name).mkdir()
    (tmp_path / ".another.abcdefgh.part/.owner").touch()
    (tmp_path / ".file.abcdefgh.part").write_text("half")
    (tmp_path / "archive.zip.part").write_text("half")
    an_hour_ago = time.time() - holding.UNOWNED_S - 1
    for name in hidden(tmp_path):
        if name != ".new.abcdefgh.part":
            os.utime(tmp_path / name, (an_hour_ago, an_hour_ago))
    assert holding.sweep(tmp_path) == 1
    assert hidden(tmp_path) == [".another.abcdefgh.part", ".file.abcdefgh.part", ".new.abcdefgh.part", "archive.zip.part"]


def test_without_locks_of_the_file_system_nobody_waits_and_nothing_is_swept(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(holding.NO_LOCKS[0], "Function not implemented")

    monkeypatch.setattr(holding.fcntl, "flock", refuse)
    with file_lock(tmp_path / "a"), holding.private(tmp_path, prefix=".a.", suffix=".part") as part:
        assert holding.sweep(tmp_path) == 0 and part.is_dir()
