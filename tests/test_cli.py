import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from in_process import galley

from galley import cli, table_commands, usage

ROOT = Path(__file__).parents[1]


def started(*args, python=()):
    """A process of its own."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, *python, "-m", "galley.cli", *args]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "shown"),
    [("--help", ("convert-mla", "lm-eval", "plan", "claims", "bench", "fetch")), ("--version", ("galley 0", "python 3", "torch 2"))],
)
def test_help_and_version_teach_without_importing_torch(words, shown):
    done = started(words, python=("-X", "importtime"))
    assert done.returncode == 0
    for word in shown:
        assert word in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "pandas"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("plan", "mha2mla", "--scale", "huge"), ("huge", "smoke, laptop or paper")),
        (("plan", "nothing"), ("nothing", "mha2mla")),
        (("fetch", "nothing", "--out", "nowhere"), ("nothing", "shakespeare")),
        (("claims", "check", "mha2mla", "--results", "no/such"), ("no/such", "galley run RECIPE")),
        (("bench", "mha2mla", "--parts", "speed"), ("speed", "decode")),
        (("plan", "mha2mla", "--seeds=-3"), ("--seeds is -3", "from 1 to 1000")),
        (("certify", "--sources", "/nope"), ("--sources is /nope", "galley fetch")),
    ],
)
def test_an_error_names_the_value_and_the_way_out(args, words):
    done = galley(*args, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_process_ends_with_the_error_s_code_and_line():
    done = started("plan", "mha2mla", "--scale", "huge")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: --scale is 'huge'; it takes smoke")


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_plan_tells_jobs_downloads_and_the_command(scale):
    done = galley("plan", "mha2mla", "--scale", scale, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for word in ("Jobs", "Downloads", "tokens an arm", f"Run it: galley run mha2mla --scale {scale}"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["plam"], "no such command 'plam' of `galley`; did you mean 'plan', 'claims'? see `galley --help`"),
        (["claims", "chek"], "no such command 'chek' of `galley claims`; did you mean 'check'? see `galley claims --help`"),
        (["plan", "mha2mla", "--sclae", "smoke"], "--sclae is no option of `galley plan`; did you mean --scale? see `galley plan --help`"),
        (["plan", "mha2mla", "--zzz"], "--zzz is no option of `galley plan`; see `galley plan --help`"),
        (["pin"], "RECIPE is missing; it takes a recipe, such as mha2mla; see `galley pin --help`"),
        (
            ["fetch", "humaneval"],
            "--out is missing; it takes a new or an empty folder, or one that this command made before; see `galley fetch --help`",
        ),
        (["plan", "mha2mla", "--seeds"], "--seeds is given no value; see the command's --help"),
        (["fetch", "shakespare", "--out", "x"], "SOURCE is 'shakespare', perhaps 'shakespeare'"),
    ],
)
def test_a_slip_of_the_hand_is_told_what_is_near(argv, said, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert usage.run(cli.app, argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}") and err.count("\n") == 1


def test_a_mirror_of_the_environment_is_named_by_its_variable(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GALLEY_MIRROR", "/nope")
    assert usage.run(cli.app, ["fetch", "humaneval", "--out", "x"]) == 2
    assert capsys.readouterr().err.startswith("error: GALLEY_MIRROR is /nope, which is not there; ")


def failing(error):
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    return app


def test_a_fault_of_the_code_is_told_from_a_users_and_stays_diagnosable(capsys):
    assert usage.run(failing(KeyError("no such field")), []) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("internal error: KeyError: 'no such field'; ") and any("in fail" in line for line in rest)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_refuses_is_one_line(number, capsys):
    assert usage.run(failing(OSError(number, os.strerror(number), "results/some")), []) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "results/some" in err and ";" in err and err.count("\n") == 1


def test_words_that_are_told_early_are_those_that_the_code_knows():
    from galley.evaluate.code import benchmarks
    from galley.evaluate.code import commands as code_commands
    from galley.kernels import build
    from galley.kernels import commands as kernel_commands
    from galley.papers.mha2mla import bench

    assert set(code_commands.BENCHMARKS) == set(benchmarks.BENCHMARKS)
    assert (set(kernel_commands.TARGETS), set(kernel_commands.DTYPES)) == (set(build.TARGETS), set(build.DTYPES))
    assert table_commands.PARTS == bench.PARTS


TREE = typer.main.get_command(cli.app)


def leaves(command, words=()):
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


@pytest.mark.parametrize(("words", "command"), leaves(TREE), ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_every_help_ends_in_examples_that_the_command_takes(words, command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    context = typer.Context(command, info_name=" ".join(("galley", *words)))
    said = command.get_help(context)
    assert "Example" in said, said
    shown = re.sub(r"\s+", " ", said[said.index("Example") :].replace("\\\n", " "))
    calls = [call.split() for call in re.findall(rf"galley {' '.join(words)}((?: (?!galley |Of a few|Partial)\S+)*)", shown)]
    flags = {flag: param for param in command.params for flag in param.opts if flag.startswith("-")}
    assert calls
    for call in calls if words != ("lm-eval",) else []:
        given = [word for word in call if word.startswith("--")]
        assert set(given) <= set(flags), call
        needed = [param.opts[0] for param in command.params if param.required and param.opts[0].startswith("-")]
        assert set(needed) <= set(given), call


def test_a_fetch_ends_in_what_came_and_from_where():
    record = {
        "status": "ok",
        "source": "plays",
        "origin": {"kind": "github", "repo": "a/b", "commit": "c0ffee", "paths": {"x": "y"}},
        "licence": "public domain",
        "bytes": 12345,
    }
    said = "plays is in my/plays: 12,345 bytes\norigin: github a/b c0ffee\nlicence: public domain"
    assert usage.fetched(record, Path("my/plays")) == said
    absent = {"status": "absent", "source": "plays", "tried": ["mirror: none is set", "github: no answer"], "how_to_supply": "copy it"}
    assert usage.fetched(absent, Path("my/plays")) == (
        "plays is absent: mirror: none is set; github: no answer\nto supply it by hand: copy it"
    )
