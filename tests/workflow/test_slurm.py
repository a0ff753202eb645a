"""A real submission through a local stand-in of SLURM's commands, for one cheap target."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tree import copy_tree, offline_env

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(300)]

# Jobs run at once, in the foreground; their ids and states are kept in a folder.
SBATCH = """#!{python}
import os, re, subprocess, sys
folder = os.environ["FAKE_SLURM"]
args = sys.argv[1:]
with open(f"{folder}/calls", "a") as calls:
    calls.write(" ".join(args) + "\\n")
number = str(1000 + len(os.listdir(folder)))
text = " ".join(args)
name = re.search(r"--job-name[ =](\\S+)", text)
wrap = next((a[len("--wrap="):] for a in args if a.startswith("--wrap=")), None)
if wrap is None and "--wrap" in args:
    wrap = args[args.index("--wrap") + 1]
script = wrap if wrap is not None else sys.stdin.read()
environment = dict(os.environ, SLURM_JOB_ID=number, SLURM_CPUS_ON_NODE="2", SLURM_CPUS_PER_TASK="1", SLURM_NTASKS="1")
done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
state = "COMPLETED" if done.returncode == 0 else "FAILED"
with open(f"{folder}/job-{number}", "w") as record:
    record.write(f"{name.group(1).strip(chr(39)) if name else ''}|{state}\\n{done.stdout}{done.stderr}")
print(number)
"""
SACCT = """#!{python}
import glob, os
for path in glob.glob(os.environ["FAKE_SLURM"] + "/job-*"):
    name, state = open(path).readline().strip().split("|")
    print(f"{path.rsplit('-', 1)[1]}|{state}")
"""
# srun's own flags are skipped; what follows them is run.
SRUN = """#!{python}
import os, sys
args = sys.argv[1:]
while args and args[0].startswith("-"):
    args.pop(0)
os.execvp(args[0], args)
"""


def test_a_job_is_submitted_and_its_file_arrives(tmp_path):
    commands, state = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    state.mkdir()
    for name, text in {"sbatch": SBATCH, "sacct": SACCT, "srun": SRUN, "squeue": "#!/bin/sh\n", "scancel": "#!/bin/sh\n"}.items():
        path = commands / name
        path.write_text(text.replace("{python}", sys.executable))
        path.chmod(0o755)
    (commands / "sinfo").write_text("#!/bin/sh\necho 'main* up'\n")
    (commands / "sacctmgr").write_text("#!/bin/sh\necho main\n")
    for name in ("sinfo", "sacctmgr"):
        (commands / name).chmod(0o755)
    folder = copy_tree(tmp_path / "tree") if (tmp_path / "tree").mkdir() is None else tmp_path
    env = offline_env(folder)
    env |= {"PATH": f"{commands}{os.pathsep}{env['PATH']}", "FAKE_SLURM": str(state)}
    target = "results/sources/longbench_config"
    command = [
        "snakemake",
        "--profile",
        "profiles/slurm",
        "--slurm-init-seconds-before-status-checks",
        "1",
        "--latency-wait",
        "5",
        "--retries",
        "0",
        target,
        "--config",
        "scale=smoke",
    ]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    records = [p.read_text() for p in state.glob("job-*")]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + "".join(records)
    assert (folder / target / "source.json").exists()
    calls = (state / "calls").read_text()
    assert "--partition" in calls or "-p " in calls
    assert ("--mem" in calls and "--time" in calls) or "-t " in calls
