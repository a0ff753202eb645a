"""Digests of code and the memory of a process."""

import os
import subprocess
import sys

import numpy as np

from galley import artifact


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
