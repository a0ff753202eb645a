"""SLURM's commands for one machine: `python slurm_stand_in.py COMMAND ARGUMENTS...`.

As much of each as the executor plugin calls. A job runs at once and in the background, in its own
process group; $FAKE_SLURM is the folder that keeps every call and each job's name and exit code.
"""

import itertools
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "squeue", "scancel", "sinfo", "sacctmgr", "sshare", "scontrol")
FIRST_ID = 1001


def state() -> Path:
    """Return the folder of calls and jobs."""
    return Path(os.environ["FAKE_SLURM"])


def install(folder: Path) -> None:
    """Write one small script a command into `folder`, which goes to the front of PATH."""
    folder.mkdir()
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        path.chmod(0o755)


def value(arguments: list[str], flag: str) -> str | None:
    """Return the value of `--flag value` or `--flag=value`."""
    for n, word in enumerate(arguments):
        if word == flag:
            return arguments[n + 1]
        if word.startswith(f"{flag}="):
            return word[len(flag) + 1 :]
    return None


def new_id(name: str) -> str:
    """Return the next free job id, taken with the job's name; two submissions at once get two."""
    for number in itertools.count(FIRST_ID):
        try:
            with (state() / f"{number}.name").open("x") as record:
                record.write(name)
        except FileExistsError:
            continue
        return str(number)
    raise AssertionError("unreachable: count() does not end")


def sbatch(arguments: list[str]) -> int:
    """Start the wrapped command; print the job's id."""
    refusal = state() / "refuse"
    if refusal.exists():
        sys.stderr.write(f"sbatch: error: {refusal.read_text()}\n")
        return 1
    number = new_id(value(arguments, "--job-name") or "")
    output = Path((value(arguments, "--output") or "slurm-%j.out").replace("%j", number))
    script = value(arguments, "--wrap")
    code = shlex.quote(str(state() / f"{number}.code"))
    with output.open("w") as log:
        process = subprocess.Popen(
            ["sh", "-c", f"{script}\necho $? > {code}.part && mv {code}.part {code}"],
            cwd=value(arguments, "-D"), env=os.environ | {"SLURM_JOB_ID": number}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    (state() / f"{number}.pid").write_text(str(process.pid))
    print(number)
    return 0


def state_of(number: str) -> str:
    """Return a job's state in SLURM's words."""
    code = state() / f"{number}.code"
    if (state() / f"{number}.cancelled").exists():
        return "CANCELLED"
    if not code.exists():
        return "RUNNING"
    return "COMPLETED" if code.read_text().strip() == "0" else "FAILED"


def report(arguments: list[str]) -> int:
    """Print `id|STATE` of the jobs with the asked name: what sacct and squeue are called for; the account when asked for that."""
    if any("Account" in word for word in arguments):
        print("lab")
        return 0
    for path in sorted(state().glob("*.name")):
        if path.read_text() == value(arguments, "--name"):
            print(f"{path.stem}|{state_of(path.stem)}")
    return 0


def srun(arguments: list[str]) -> int:
    """Run what follows srun's own flags."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        rest.pop(0)
    os.execvp(rest[0], rest)


def scancel(arguments: list[str]) -> int:
    """Kill the named jobs' process groups."""
    for number in (word for word in arguments if word.isdigit()):
        (state() / f"{number}.cancelled").touch()
        os.killpg(int((state() / f"{number}.pid").read_text()), signal.SIGTERM)
    return 0


def main(command: str, arguments: list[str]) -> int:
    """Note the call, then act as `command`."""
    with (state() / "calls").open("a") as calls:
        calls.write(shlex.join([command, *arguments]) + "\n")
    if command in ("sacct", "squeue"):
        return report(arguments)
    if command in ("sinfo", "sacctmgr", "sshare", "scontrol"):
        print({"sinfo": "PARTITION\nmain*\ngpu", "scontrol": "MaxArraySize = 1001\nMinJobAge = 300 sec"}.get(command, "lab"))
        return 0
    return {"sbatch": sbatch, "srun": srun, "scancel": scancel}[command](arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
