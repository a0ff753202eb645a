import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def galley(*args, cwd=ROOT, python=()):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, *python, "-m", "galley.cli", *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_help_teaches_without_importing_torch():
    done = galley("--help", python=("-X", "importtime"))
    assert done.returncode == 0
    for command in ("convert-mla", "lm-eval", "plan", "claims", "bench", "fetch"):
        assert command in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "pandas"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("plan", "mha2mla", "--scale", "huge"), ("huge", "smoke, laptop, paper")),
        (("plan", "nothing"), ("nothing", "mha2mla")),
        (("fetch", "nothing", "--out", "nowhere"), ("nothing", "shakespeare")),
        (("claims", "check", "mha2mla", "--results", "no/such"), ("no/such", "make the table first")),
        (("bench", "mha2mla", "--parts", "speed"), ("speed", "decode")),
    ],
)
def test_an_error_names_the_value_and_the_way_out(args, words):
    done = galley(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_plan_tells_jobs_downloads_and_the_command(scale):
    done = galley("plan", "mha2mla", "--scale", scale)
    assert done.returncode == 0, done.stderr
    for word in ("Jobs", "Downloads", "tokens an arm", f"scale={scale}"):
        assert word in done.stdout
