"""Whole runs of a tiny scale: without network, killed and resumed, and a second time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tree import copy_tree, offline_env

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]
COMMAND = ["snakemake", "--cores", "2", "results/table_mha2mla.csv", "--config", "scale=smoke"]
MADE = ("table_mha2mla.csv", "claims_mha2mla.csv", "table_mha2mla.md", "table_mha2mla.tex", "table_mha2mla.html")


def run(folder, env, *extra):
    return subprocess.run([*COMMAND, *extra], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = copy_tree(tmp_path_factory.mktemp("whole"))
    env = offline_env(folder)
    done = run(folder, env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, env


def test_without_network_or_mirror_it_runs_and_says_what_it_used(finished):
    folder, _ = finished
    table = pd.read_csv(folder / "results/table_mha2mla.csv")
    absent = table[table["benchmark"] == "commonsense_piqa"] if "commonsense_piqa" in set(table["benchmark"]) else None
    missing = table[table["status"] == "not_run"]
    assert len(missing) and missing["reason"].str.len().gt(0).all() and missing["value"].isna().all()
    assert absent is None or (absent["status"] == "not_run").all()
    corpus = (folder / "results/smoke/corpus/corpus.json").read_text()
    assert "stdlib" in corpus
    claims = pd.read_csv(folder / "results/claims_mha2mla.csv")
    exact = claims[claims["claim_id"].str.match(r"A\d")]
    assert (exact["verdict"] == "reproduced").all()


def test_a_second_run_does_nothing_and_says_so(finished):
    folder, env = finished
    before = (folder / "results/table_mha2mla.csv").stat().st_mtime_ns
    done = run(folder, env)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    assert (folder / "results/table_mha2mla.csv").stat().st_mtime_ns == before


def test_a_killed_run_goes_on_to_the_same_bytes(finished, tmp_path):
    whole, _ = finished
    folder = copy_tree(tmp_path)
    env = offline_env(folder)
    # Killed twice: while arms are being adapted, and as soon as the first shard is whole.
    for sign in ("mha2mla/scratch-tiny/state/*/*/run.json", "mha2mla/scratch-tiny/arms-*.runs.csv"):
        process = subprocess.Popen(
            COMMAND, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 400
        while not list((folder / "results/smoke").glob(sign)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "results/table_mha2mla.csv").exists()
    subprocess.run([*COMMAND, "--unlock"], cwd=folder, env=env, capture_output=True, check=False)
    done = run(folder, env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in MADE:
        assert (folder / "results" / name).read_bytes() == (whole / "results" / name).read_bytes(), name
