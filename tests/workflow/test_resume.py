"""A run that is killed goes on where it stopped, to the same bytes; a second run has nothing to do."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from tree import SMOKE, TABLE, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
RUN = ("--cores", "2", TABLE, *SMOKE)
FINISHED = "results/smoke/mha2mla/scratch-tiny/state/*/*.json"
MADE = ("table_mha2mla.csv", "claims_mha2mla.csv", "table_mha2mla.md", "table_mha2mla.tex", "table_mha2mla.html")


def kill_when(tree, pattern):
    """Start a run, kill its whole process group when a file matches `pattern`, and return whether it was still running."""
    process = subprocess.Popen(
        ["snakemake", *RUN], cwd=tree.folder, env=tree.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not any(tree.folder.glob(pattern)):
        time.sleep(0.02)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def upstream_of(whole, tree):
    """Give a tree all that the arms start from, with Snakemake's records of it; the arms and the table are still to be made."""
    shutil.copytree(whole.folder / ".snakemake/metadata", tree.folder / ".snakemake/metadata")
    for part in ("sources", "smoke/corpus", "smoke/models"):
        shutil.copytree(whole.folder / "results" / part, tree.folder / "results" / part)
    run = "results/smoke/mha2mla/scratch-tiny"
    (tree.folder / run).mkdir(parents=True)
    for name in ("norms.safetensors", "inspect.items.parquet", "inspect.runs.csv"):
        shutil.copy2(whole.folder / run / name, tree.folder / run / name)
    return tree


def test_a_killed_run_goes_on_to_the_same_bytes(finished, tmp_path, shared):
    tree = upstream_of(finished, copy_tree(tmp_path / "killed", tiny=True, shared=shared))
    # In the middle of a shard: an arm is finished, its shard is not.
    assert kill_when(tree, FINISHED), "it ended before it could be killed"
    assert not (tree.folder / TABLE).exists()
    arms = {p: p.stat().st_mtime_ns for p in tree.folder.glob(FINISHED)}
    base = tree.folder / "results/smoke/models/scratch-tiny/config.json"
    trained = base.stat().st_mtime_ns
    code, text = tree.snakemake("--unlock", *RUN)
    assert code == 0, text
    code, text = tree.snakemake(*RUN)
    assert code == 0, tree.failure(text)
    assert base.stat().st_mtime_ns == trained, "the base model was trained again"
    assert arms and {p: p.stat().st_mtime_ns for p in arms} == arms, "a finished arm was run again"
    for name in MADE:
        assert (tree.folder / "results" / name).read_bytes() == (finished.folder / "results" / name).read_bytes(), name


def test_a_second_run_has_nothing_to_do_and_says_so(finished):
    before = {name: (finished.folder / "results" / name).stat().st_mtime_ns for name in MADE}
    code, text = finished.snakemake(*RUN)
    assert code == 0 and "Nothing to be done" in text, text
    assert {name: (finished.folder / "results" / name).stat().st_mtime_ns for name in MADE} == before


def test_another_device_or_seed_runs_the_model_s_jobs_again_and_nothing_before_them(finished):
    """Parameters that are made of inputs or outputs are no reason to run again: these must not be."""
    for change, rules in (("device=cuda", {"mha2mla_inspect", "mha2mla_arms"}), ("seeds=2", {"mha2mla_arms"})):
        code, text = finished.snakemake("-n", TABLE, *SMOKE, change)
        assert code == 0, text
        found = set(re.findall(r"^(\w+)\s+\d+\s*$", text, flags=re.MULTILINE))
        assert found == {*rules, "table", "total"}, (change, found)
