"""Dry runs: every target at every scale, every profile, and wrong configurations refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tree import ROOT

pytestmark = pytest.mark.workflow


def dry(*extra):
    done = subprocess.run(["snakemake", "-n", *extra], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_all_targets(scale):
    code, text = dry("all", "results/figures/mha2mla", "--config", f"scale={scale}")
    assert code == 0, text


@pytest.mark.parametrize("profile", ["ci", "slurm"])
def test_profiles(profile):
    code, text = dry("--profile", f"profiles/{profile}", "all", "--config", "scale=smoke")
    assert code == 0, text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("scael=smoke", "scael"),
        ("scale=huge", "huge"),
        ("effort=0", "effort"),
        ("seeds=none_at_all", "seeds"),
        ("mirror=/no/such/folder", "/no/such/folder"),
    ],
)
def test_wrong_configuration_is_refused_by_name(setting, words):
    code, text = dry("all", "--config", setting)
    assert code != 0 and words in text
