"""`galley run` against every end of a run: it tells the living from the dead, goes on by itself, and leaves nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tree import ROOT, copy_tree

from galley import leftovers, reliability
from galley.interruption import GOES_ON

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
SNAKEFILE = """
rule all:
    input: expand("results/{n}.txt", n=[1, 2])

rule one:
    output: "results/{n}.txt"
    log: "logs/{n}.log"
    shell: "python job.py {output} &> {log}"
"""
JOB = """
import sys, tempfile, time
from pathlib import Path
from galley.artifact import atomic_path, file_lock
from galley.interruption import ending
with ending(), file_lock(sys.argv[1]), atomic_path(Path(sys.argv[1])) as part:
    tempfile.mkdtemp()
    print("works in", tempfile.gettempdir(), flush=True)
    while Path("slow").exists():
        time.sleep(0.05)
    part.write_text("done")
"""


@pytest.fixture
def folder(tmp_path):
    """A project of two jobs that work for as long as a file `slow` is there."""
    for name in ("recipes", "profiles/default", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "slow").touch()
    (tmp_path / "profiles/default/profile.yaml").write_text((ROOT / "profiles/default/profile.yaml").read_text())
    yield tmp_path
    for process in marked(tmp_path):
        process.kill()


def start(folder, *words):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env |= {"TMPDIR": str(folder / "tmp"), "GALLEY_CACHE": str(folder / "cache")}
    command = words or (sys.executable, "-m", "galley", "run", "all", "--cores", "2")
    said = folder / f"said-{time.monotonic_ns()}"  # no pipe: an orphan would keep it open
    with said.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    process.said = said
    return process


def until_it_works(folder, process):
    """Wait until both jobs are at work."""
    logs = [folder / f"logs/{n}.log" for n in (1, 2)]
    while not all(log.exists() and "works in" in log.read_text() for log in logs):
        assert process.poll() is None, process.said.read_text()
        time.sleep(0.05)


def marked(folder):
    return [process for process in leftovers.found(folder)[0] if process.status() != psutil.STATUS_ZOMBIE]


def left(folder):
    """What no run may leave."""
    found = [str(path.relative_to(folder)) for top in ("results", "logs", "tmp") for path in (folder / top).rglob("*")]
    locks = [str(path) for path in (folder / ".snakemake").rglob("*.lock")]
    return [name for name in found if name.startswith("tmp/") or Path(name).name.startswith(".")] + locks + marked(folder)


def ended(process, *, code):
    process.wait(timeout=60)
    said = process.said.read_text()
    assert process.returncode == code and "Traceback" not in said, (process.returncode, said)
    return said


@pytest.mark.parametrize("way", ["group", "snakemake"])
def test_after_kill_9_the_same_command_goes_on_and_a_living_run_is_left_alone(folder, way):
    first = start(folder)
    until_it_works(folder, first)
    if way == "group":
        said = ended(start(folder), code=2)
        assert said.startswith("error: a run is going on in") and f"process {first.pid} " in said and said.count("\n") == 1, said
        assert first.poll() is None
        os.killpg(first.pid, signal.SIGKILL)
    else:
        first.kill()
    first.wait()
    assert left(folder) != [] and bool(marked(folder)) == (way == "snakemake")
    for log in (folder / "logs").iterdir():
        log.unlink()
    again = start(folder)
    until_it_works(folder, again)  # the orphans would hold their outputs for ever
    (folder / "slow").unlink()
    said = ended(again, code=0)
    assert "going on after a run that was killed" in said and ("its processes" in said) == (way == "snakemake"), said
    assert [(folder / f"results/{n}.txt").read_text() for n in (1, 2)] == ["done", "done"] and left(folder) == []
    assert f"works in {folder}/tmp/{leftovers.TEMPORARY}" in (folder / "logs/1.log").read_text()


@pytest.mark.parametrize(
    ("number", "times", "to"),
    [
        (signal.SIGINT, 1, "the terminal"),
        (signal.SIGINT, 2, "the process"),
        (signal.SIGINT, 4, "the terminal"),
        (signal.SIGTERM, 1, "the process"),
        (signal.SIGTERM, 2, "the terminal"),
        (signal.SIGTERM, 4, "the process"),
    ],
)
def test_ctrl_c_and_sigterm_end_the_jobs_in_one_sentence_without_a_traceback(folder, times, to, number):
    process = start(folder)
    until_it_works(folder, process)
    began = time.monotonic()
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number) if to == "the terminal" else process.send_signal(number)
        time.sleep(0.2)
    said = ended(process, code=128 + number)
    assert time.monotonic() - began < 10, "the jobs would have worked for ever, and were ended"
    assert said.endswith(f"\n{GOES_ON}\n") and said.count(GOES_ON) == 1 and marked(folder) == [], said
    assert "Error" not in said, said
    (folder / "slow").unlink()
    ended(start(folder), code=0)
    assert left(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_job_ends_the_run_in_the_same_sentence(folder, number):
    snakefile = folder / "Snakefile"
    snakefile.write_text(snakefile.read_text() + "\nimport time\nopen('parses', 'w').close()\ntime.sleep(30)\n")
    process = start(folder)
    while not (folder / "parses").exists():
        assert process.poll() is None, process.said.read_text()
        time.sleep(0.05)
    process.send_signal(number)
    said = ended(process, code=128 + number)
    assert said.endswith(f"{GOES_ON}\n") and said.count(GOES_ON) == 1 and "Error" not in said, said


def test_plain_snakemake_is_seen_and_its_orphan_waited_for(folder):
    snakemake = str(Path(sys.executable).parent / "snakemake")
    plain = start(folder, snakemake, "--cores", "2", "all")
    until_it_works(folder, plain)
    said = ended(start(folder), code=2)
    assert said.startswith("error: snakemake runs in") and f"process {plain.pid} " in said and said.count("\n") == 1, said
    orphans = psutil.Process(plain.pid).children(recursive=True)
    plain.kill()
    plain.wait()
    assert all(process.is_running() for process in orphans)
    (folder / "logs/1.log").unlink()  # the orphan keeps writing to it; the next one's has the same name
    again = start(folder)
    while not (folder / "logs/1.log").exists() or "waits" not in (folder / "logs/1.log").read_text():
        assert again.poll() is None, again.said.read_text()
        time.sleep(0.05)
    (folder / "slow").unlink()
    ended(again, code=0)
    assert "works on it; this process waits" in (folder / "logs/1.log").read_text()
    assert [name for name in left(folder) if not str(name).startswith("tmp/")] == []  # plain Snakemake's temporary folders are the system's


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_full_disk_under_snakemake_s_records_is_one_line_that_says_where(folder, when):
    """In a mount of its own, which nobody else sees and which goes with the run."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts of one's own here")
    fill = "head -c 9000000 /dev/zero > .snakemake/filler 2> /dev/null"
    if when == "meanwhile":
        snakefile = folder / "Snakefile"
        snakefile.write_text(snakefile.read_text().replace("python job.py", f"({fill} || true) && python job.py"))
    (folder / "slow").unlink()
    (folder / ".snakemake").mkdir()
    prepare = "mount -t tmpfs -o size=4m tmpfs .snakemake" + (f"; {fill}" if when == "before" else "")
    process = start(folder, "unshare", "-rm", "sh", "-c", f"{prepare}; exec {sys.executable} -m galley run all --cores 2")
    said = ended(process, code=2)
    last = said.splitlines()[-1]
    assert last.startswith("error: a run needs 1.0 MB in ") and "/.snakemake, which has " in last and "make room there" in last, said
    assert when == "meanwhile" or said.count("\n") == 1


def test_three_kills_at_random_moments_end_in_the_same_bytes(finished, tmp_path, shared, monkeypatch, capsys):
    """`galley bench reliability`, short: of one recipe at the tiny scale."""
    project = copy_tree(tmp_path / "project", tiny=True, shared=shared)
    for name in ("PATH", "PYTHONPATH", "NO_NETWORK_LOG", "PYTHONPYCACHEPREFIX"):
        if name in project.env:
            monkeypatch.setenv(name, project.env[name])
    monkeypatch.delenv("GALLEY_MIRROR", raising=False)
    out, asked = tmp_path / "bench.csv", ["mha2mla", "--scale", "smoke", "--missing", "accept", "--cores", "2"]
    monkeypatch.setattr(
        reliability,
        "COMPARED",
        ("results/*_mha2mla.csv", "results/smoke/mha2mla/**/*.items.parquet", "results/smoke/mha2mla/**/*.runs.csv"),
    )  # others are there too
    reliability.write_bench(out, kills=3, asked=asked, project=project.folder, whole=finished.folder, seconds=40)
    rows = reliability.pd.read_csv(out).set_index("metric")["ours"]
    assert rows["kills"] == 3 and rows["runs"] >= 3
    assert rows["files that differ"] == rows["leftovers"] == rows["manual steps"] == 0, capsys.readouterr().err
