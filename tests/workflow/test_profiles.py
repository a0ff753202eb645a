"""The profiles: each resolves the whole chain, and what they ask of a cluster is what the recipe and the rules say."""

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from slurm_stand_in import install
from tree import ROOT, TABLE, Tree, arms_inputs, copy_tree

from galley import cost
from galley.plan import read_plan_of
from galley.stage import stages_of

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
ONE_SOURCE = "results/sources/longbench_config"
FAST = ("--seconds-between-status-checks", "1", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5", "--retries", "0")


@pytest.fixture
def slurm(tmp_path, shared):
    """A tiny tree with SLURM's commands on PATH, and the folder that records their calls."""
    state = tmp_path / "slurm"
    state.mkdir()
    install(tmp_path / "bin")
    tree = copy_tree(tmp_path / "tree", tiny=True, shared=shared)
    env = tree.env | {"FAKE_SLURM": str(state), "PATH": f"{tmp_path / 'bin'}{os.pathsep}{tree.env['PATH']}"}
    return Tree(tree.folder, env), state


def submissions(state: Path) -> list[list[str]]:
    """Return the words of every sbatch call."""
    calls = [shlex.split(line) for line in (state / "calls").read_text().splitlines()]
    return [call for call in calls if call[0] == "sbatch"]


@pytest.mark.parametrize(("profile", "scale"), [("ci", "smoke"), ("slurm", "paper")])
def test_a_profile_resolves_the_whole_chain(clone, profile, scale):
    extra = () if profile == "ci" else ("--config", f"scale={scale}")
    code, text = clone.snakemake("-n", "--profile", f"profiles/{profile}", "all", *extra)
    assert code == 0, text
    assert f"results/{scale}/corpus/corpus.json" in text


def test_the_command_line_wins_over_the_ci_profile(clone):
    code, text = clone.snakemake("-n", "--profile", "profiles/ci", TABLE, "--config", "scale=laptop")
    assert code == 0 and "results/laptop/corpus/corpus.json" in text and "results/smoke/" not in text, text


def test_profiles_name_only_rules_that_exist():
    text = "\n".join(p.read_text() for p in (ROOT / "rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:use rule stage as|rule) (\w+)(?: with)?:", text, flags=re.MULTILINE))
    for path in (ROOT / "profiles").glob("*/profile.yaml"):
        profile = yaml.safe_load(path.read_text())
        assert {*profile.get("set-resources", {}), *profile.get("set-threads", {})} <= rules, path


def test_slurm_runs_a_job_and_its_file_arrives(slurm):
    tree, state = slurm
    code, text = tree.snakemake("--profile", "profiles/slurm", *FAST, ONE_SOURCE, "--config", "scale=smoke")
    assert code == 0, tree.failure(text)
    assert (tree.folder / ONE_SOURCE / "source.json").exists()
    (call,) = submissions(state)
    assert call[call.index("--mem") + 1] == "1000" and call[call.index("-t") + 1] == "30"  # the rule's own figures
    assert "--nodes=1" in call and "--ntasks=1" in call and not any(word.startswith("--gpus") for word in call)
    assert call[call.index("-p") + 1] == "main" and call[call.index("-A") + 1] == "lab"


def test_slurm_is_asked_for_the_gpus_of_the_recipe(slurm):
    tree, state = slurm
    for path in arms_inputs(tree, model="SmolLM-1B7"):  # empty stand-ins: the job is refused before it could read them
        (tree.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (tree.folder / path).write_text("{}")
    (state / "refuse").write_text("QOSMaxSubmitJobPerUserLimit")
    target = "results/paper/mha2mla/SmolLM-1B7/arms-0.items.parquet"
    command = ("--profile", "profiles/slurm", *FAST, "--rerun-triggers", "mtime", "--allowed-rules", "mha2mla_arms", "--", target)
    code, text = tree.snakemake("--config", "scale=paper", *command)
    assert code != 0 and "QOSMaxSubmitJobPerUserLimit" in text, text
    (call,) = submissions(state)
    plan = read_plan_of("mha2mla", "paper", folder=tree.folder / "recipes")
    model = plan.models["SmolLM-1B7"]
    assert f"--gpus={model.gpus}" in call and model.gpus > 1
    assert "--nodes=1" in call and "--cpus-per-task=8" in call
    assert not any(word.startswith("--ntasks-per-gpu") for word in call)
    assert call[call.index("--mem") + 1] == str(cost.memory_mb(model, copies=6, beside=3000 * (1 + model.gpus)))
    assert call[call.index("-t") + 1] == str(cost.minutes(stages_of("mha2mla")["arms"], plan, model="SmolLM-1B7", least=120))


def test_a_cancelled_slurm_run_takes_its_jobs_along(slurm):
    tree, state = slurm
    (tree.folder / "rules/sources.smk").write_text(
        (tree.folder / "rules/sources.smk").read_text().replace('"galley fetch', '"sleep 600; galley fetch', 1)
    )
    command = ["snakemake", "--profile", "profiles/slurm", *FAST, ONE_SOURCE, "--config", "scale=smoke"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # A shell's background job ignores Ctrl-C, and its children inherit that: the test must not.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, cwd=tree.folder, env=tree.env, **quiet, **heard)
    while process.poll() is None and not (state / "1001.pid").exists():
        time.sleep(0.05)
    time.sleep(1)  # the submission is registered
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    assert (state / "1001.cancelled").exists()
