"""A run's console with Snakemake itself: jobs, verdicts, a failure, a dry run, and the log that keeps everything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tree import ROOT

pytestmark = pytest.mark.workflow
SNAKEFILE = """
rule table:
    input: expand("results/smoke/x/{shard}.txt", shard=[0, 1])
    output: "results/table_x.csv", claims="results/claims_x.csv"
    log: "logs/table_x.log"
    shell: "cp claims.csv {output.claims} && touch {output[0]} 2> {log}"

rule arms:
    output: "results/{scale}/x/{shard}.txt"
    log: "logs/{scale}/x/{shard}.log"
    benchmark: "benchmarks/{scale}/x/{shard}.jsonl"
    shell: "(echo working on it; test ! -e broken; touch {output}) &> {log}"
"""
CLAIMS = "claim_id,statement,tier,kind,scale,verdict,estimate,ci_low,ci_high\nD1,It works.,headline,order,smoke,proxy_agrees,1,0.5,2\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("console")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "claims.csv").write_text(CLAIMS)
    (folder / "profiles/default").mkdir(parents=True)
    (folder / "profiles/default/profile.yaml").write_text("logger: galley\nscheduler: greedy\nshow-failed-logs: true\n")
    return folder


def snakemake(folder, *arguments):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["snakemake", "--cores", "1", "results/table_x.csv", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_run_from_failure_to_nothing_to_do(folder):
    code, out, _ = snakemake(folder, "-n")
    own = snakemake(folder, "-n", "--workflow-profile", "none", "--scheduler", "greedy")[1]
    heads = ("rule", "    ", "table", "arms", "total")
    # Sorted: the order of jobs, and of the files in a reason, is that of a set.
    facts = [sorted(" ".join(sorted(re.split("[ ,]+", x))) for x in text.splitlines() if x.startswith(heads)) for text in (out, own)]
    assert code == 0 and facts[0] and facts[0] == facts[1], "a dry run says what it says without the console"

    (folder / "broken").touch()
    code, _, err = snakemake(folder)
    assert code != 0 and "FAILED  arms shard=" in err and "    working on it" in err, err
    (folder / "broken").unlink()

    code, _, err = snakemake(folder)
    assert code == 0 and "(3 of 3)" in err and "\x1b" not in err and "localrule" not in err, err
    assert "x at smoke scale, 1 claims: 1 proxy_agrees\n  D1  proxy_agrees  1 [0.5, 2]  It works.\n3 of 3 jobs done" in err, err
    kept = max((folder / ".snakemake/log").glob("*.log")).read_text()
    assert "localrule table:" in kept and "Job stats:" in kept and "3 of 3 steps (100%) done" in kept, kept

    code, _, err = snakemake(folder)
    assert code == 0 and "Nothing to be done" in err and "1 proxy_agrees" in err, err
