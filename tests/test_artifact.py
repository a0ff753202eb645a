"""Digests of code and the memory of a process."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from galley import artifact
from galley.disk import no_room


def test_a_digest_changes_with_code_and_not_with_words(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact, "__file__", str(tmp_path / "artifact.py"))
    stage, below = tmp_path / "stage.py", tmp_path / "below.py"

    def digest(text, stamp):
        below.write_text(text)
        os.utime(below, ns=(stamp, stamp))
        return artifact.code_digest("galley.stage")

    stage.write_text("from galley.below import f\n")
    first = digest("def f():\n    return 1\n", 1)
    assert digest('def f():\n    """One."""  # a word\n    return 1\n', 2) == first
    assert digest("def f():\n    return 2\n", 3) != first
    assert digest("def f():\n    return 1\n", 4) == first


def test_peak_memory_is_the_process_s_own():
    """A child of a large process starts small: getrusage would begin at what the parent held."""
    held = np.ones(40_000_000)  # 305 MiB
    code = "from galley.artifact import peak_rss_mib; print(peak_rss_mib())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 5 < child < 150 < held.nbytes / 2**20 < artifact.peak_rss_mib()


def test_an_atomic_write_publishes_whole_things_and_leaves_nothing_else(tmp_path):
    with artifact.atomic_path(tmp_path / "a.txt") as part:
        part.write_text("new")
        assert part.name == "a.txt" and not (tmp_path / "a.txt").exists()
    with pytest.raises(ZeroDivisionError), artifact.atomic_path(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise ZeroDivisionError
    for text in ("first", "second"):
        with artifact.atomic_dir(tmp_path / "folder") as part:
            (part / text).write_text(text)
    with pytest.raises(ZeroDivisionError), artifact.atomic_dir(tmp_path / "folder") as part:
        (part / "half").write_text("half")
        raise ZeroDivisionError
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a.txt", "folder", "folder/second"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_full_disk_is_one_error_that_says_what_is_there_and_the_part_is_gone(tmp_path):
    """Whatever library found it full: Python, safetensors, pyarrow, torch, numpy, sqlite."""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            'mount -t tmpfs -o size=300k tmpfs "$2" && exec "$0" -c "$1" "$2"',
            sys.executable,
            FILL,
            str(small),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no user namespace with a tmpfs here")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 7, done.stdout + done.stderr
    for line in lines:
        assert re.search(r"out needs more than \d{3}\.\d kB, and .* has \d{3}\.\d kB free; make room there", line), line


FILL = """
import sqlite3, sys
from pathlib import Path
import numpy, pyarrow, pyarrow.parquet, torch
from safetensors.torch import save_file
from galley.artifact import GalleyError, atomic_dir, atomic_path
big = torch.rand(500_000)

def database(path):
    path.unlink()
    base = sqlite3.connect(path)
    base.execute("create table t (x)")
    base.executemany("insert into t values (?)", [("x" * 1000,)] * 1000)
    base.commit()

ways = [
    lambda path: path.write_bytes(bytes(2_000_000)),
    lambda path: save_file({"x": big}, path),
    lambda path: pyarrow.parquet.write_table(pyarrow.table({"x": big.numpy()}), path),
    lambda path: torch.save(big, path),
    lambda path: big.numpy().tofile(path),
    database,
]
for write in ways:
    try:
        with atomic_path(Path(sys.argv[1]) / "out") as part:
            write(part)
    except GalleyError as error:
        print(error)
    assert list(Path(sys.argv[1]).iterdir()) == [], "the part is still there"
try:
    with atomic_dir(Path(sys.argv[1]) / "out") as part:
        for name in "ab":
            (part / name).write_bytes(bytes(200_000))
except GalleyError as error:
    print(error)
"""


def test_work_of_a_known_size_is_refused_before_it_begins(tmp_path):
    with pytest.raises(artifact.GalleyError, match=r"the model needs 1000000\.0 TB in .*not/yet, which has .* free; buy a disk"):
        artifact.room(tmp_path / "not/yet", 10**18, what="the model", way_out="buy a disk")
    artifact.room(tmp_path / "not/yet", 1000, what="the model")
    assert not (tmp_path / "not").exists()


def test_an_error_that_only_mentions_what_was_handled_before_is_no_full_disk():
    full = OSError(28, "No space left on device")
    try:
        try:
            raise full
        except OSError:
            raise ValueError("another") from None
    except ValueError as error:
        assert not no_room(error)
    assert no_room(full)
