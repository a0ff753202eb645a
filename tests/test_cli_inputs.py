"""Every command and each of its options with wrong values: one line that names option, value and way out, exit code 2, nothing written.

The commands, their options and what those take come from the command line itself, so that a new one is taken in. Right values for
the other options: by name, below.
"""

import contextlib
import ctypes
import json
import math
import os
import shutil
import signal
import socket
import struct
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import typer
from code_sources import TEXTS, write_source

from galley import cli, usage
from galley.artifact import GalleyError
from galley.stage import stages_of
from galley.stage_commands import StageCommand, example

ROOT = Path(__file__).parents[1]
TREE = typer.main.get_command(cli.app)
WORDS = {"recipe": "mha2mla", "recipes": "mha2mla", "kernel": "flash_fourier.scores", "target": "sm_90", "benchmark": "humaneval"}
WRONG_WORD = {"recipe", "recipes", "model", "source", "kernel", "style"}  # words that the command itself must know
NOWHERE = "no/such/place"
TEXT_FIELDS = ("id", "text", "source", "name", "code", "package", "writer", "group", "entry_point", "task_id", "prompt", "answer", "record",
               "description")  # fmt: skip
LIST_FIELDS = ("cases", "lists", "passes", "terms", "examples", "tests", "hidden")
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2


def commands(command=TREE, words=()):
    """Yield every command with its words."""
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*words, name))
    if not hasattr(command, "commands") and command.name != "lm-eval":  # whose options are lm-eval's own
        yield words, command


OPTIONS = [(words, command, param) for words, command in commands() for param in command.params if param.name != "help"]


def is_a(param, kind):
    return kind in str(param.type_descriptor.annotation)


def kind_of(param):
    return getattr(param.callback, "kind", None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with right values for all options, the wrong ones, and the recipes."""
    root = tmp_path_factory.mktemp("world")
    for name in ("recipes", "rules", "Snakefile"):
        (root / name).symlink_to(ROOT / name)
    line = json.dumps(dict.fromkeys(TEXT_FIELDS, "a") | {name: [] for name in LIST_FIELDS} | {"shift": 0}) + "\n"
    for name in ("train", "calibration", "heldout", "functions", "sft", "sft_plain", "gtg", "lines"):
        (root / f"right/{name}.jsonl").parent.mkdir(exist_ok=True)
        (root / f"right/{name}.jsonl").write_text(line)
    (root / "right/config.json").write_text("{}")
    (root / "right/some.txt").write_text("text")
    (root / "right/some/source.json").parent.mkdir()
    (root / "right/some/source.json").write_text('{"status": "absent"}')
    (root / "right/table.csv").write_text(
        "run_id,table,model,method,setting,benchmark,value,kernel,target,d_h,dtype,registers\n" + "1," * 11 + "1\n"
    )
    pd.DataFrame({"score": [1.0]}).to_parquet(root / "right/items.parquet")
    names = ("q", "k", "moments", "official", "ours")
    head = json.dumps({name: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i, name in enumerate(names)}).encode()
    (root / "right/some.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(len(names)))
    task, prompt, body, test = TEXTS[0]
    row = {"task_id": "HumanEval/0", "prompt": prompt, "canonical_solution": body, "test": test, "entry_point": task}
    write_source(root / "right/humaneval", "HumanEval.jsonl.gz", [row])
    (root / "right/programs.jsonl").write_text('{"id": "1", "code": "pass"}\n')
    (root / "deep/down").mkdir(parents=True)
    (root / "deep/down/a.txt").write_text("text")
    (root / "deep/scores").mkdir()
    (root / "deep/scores/scores.csv").write_text("suite,metric,samples_sha256\n")
    (root / "deep/scores/x.jsonl").write_text("{}")
    (root / "linked").symlink_to("right")
    wrong = root / "wrong"
    (wrong / "empty folder").mkdir(parents=True)
    (wrong / "foreign").mkdir()
    (wrong / "foreign/thesis.tex").write_text("years of work")
    (wrong / "empty").touch()
    (wrong / "random").write_bytes(bytes((37 * i * i + 11 * i) % 251 for i in range(1, 5000)))
    (wrong / "locked").mkdir()
    (wrong / "locked file").write_text("secret")
    for path in (wrong / "locked", wrong / "locked file"):
        path.chmod(0)
    os.mkfifo(wrong / "pipe")
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(wrong):  # whose name takes 107 bytes at most
        one.bind("socket")
    for name, target in (("file", "random"), ("folder", "empty folder"), ("nothing", "nobody")):
        (wrong / f"link to {name}").symlink_to(target)
    yield root
    (wrong / "locked").chmod(0o755)


FILES = {
    "cases": "lines.jsonl", "functions": "lines.jsonl", "programs": "lines.jsonl", "samples": "lines.jsonl", "source": "programs.jsonl",
    "norms": "some.safetensors", "errors": "some.safetensors", "paper": "table.csv", "runs": "table.csv", "builds": "table.csv",
    "items": "items.parquet", "calibration": "some.txt",
}  # fmt: skip


@cache
def called(stage):
    command = next(one for words, one in commands() if " ".join(words) == stage.command)
    return dict(part.split(" ", 1) for part in example(stage, {one.name: one for one in command.params})[1:])


def right(words, command, param):
    """Return a right value for an option that must be given; None where it may be left out."""
    if isinstance(command, StageCommand) and param.name in ("model", "shard", "scale"):
        stage = stages_of(words[0].replace("-", "_"))[words[1].replace("-", "_")]
        return called(stage)[param.opts[0]]
    if kind_of(param) in ("new folder", "new file", "folder made anew"):
        return f"made/{param.name}"
    if not param.required and kind_of(param) not in ("folder", "file"):
        return None
    if is_a(param, "Path"):
        return f"right/{FILES[param.name]}" if kind_of(param) == "file" else "right"
    if words[-1] in ("fetch", "code-parity"):
        return {"fetch": "humaneval", "code-parity": "humaneval_plus"}[words[-1]]
    return {**WORDS, "model": "right" if words[-1] in ("convert-mla", "code-generate") else "scratch-600k"}.get(param.name)


def call(words, command, param, value):
    """Return the command line with one option wrong and all others right."""
    argv = [*words]
    for one in command.params:
        given = value if one is param else right(words, command, one)
        if given is not None:
            argv += [one.opts[0], given] if one.opts[0].startswith("-") else [given]
    return argv


def wrong_values(param):
    kind = kind_of(param)
    special = ("wrong/pipe", "wrong/socket", "wrong/link to nothing", "wrong/pipe/x")
    to_file, to_folder = "wrong/link to file", "wrong/link to folder"
    paths = {
        "folder": ("wrong/empty", "wrong/random", "wrong/locked", "wrong/empty/x", "wrong/empty folder", to_file),
        "file": ("wrong/empty", "wrong/random", "wrong/locked file", "wrong/empty/x", "wrong/empty folder", "wrong/locked/x", to_folder),
        "either": ("wrong/empty", "wrong/locked", "wrong/empty/x"),
        "new folder": ("wrong/empty", "wrong/random", "wrong/empty/x", "wrong/locked/x", "wrong/locked file", to_file),
        "folder made anew": (
            "wrong/empty",
            "wrong/random",
            "wrong/empty/x",
            "wrong/locked/x",
            "wrong/locked file",
            "wrong/foreign",
            "wrong",
            "right",
            to_file,
            to_folder,
        ),
        "new file": (
            "wrong/empty folder",
            "wrong/foreign",
            "wrong/empty/x",
            "wrong/locked/x",
            "wrong/locked file",
            "wrong/random",
            "wrong/foreign/thesis.tex",
            "right/config.json",
            to_file,
            to_folder,
        ),
    }
    values = list(paths.get(kind, ()))
    if kind in paths:
        values += [*special, "x" * 300]
    if kind in ("folder", "file", "either"):
        values.append(NOWHERE)
    if kind == "folder" and param.name == "mirror":
        values.remove("wrong/empty folder")  # a mirror that has nothing yet
    if kind == "file" and param.name == "programs":
        values.remove("wrong/empty")  # its source was absent
    if kind == "number":
        info = param.type_descriptor.parameter_info
        numbers = (0, -1, -3, 10**30, math.nan, math.inf, -math.inf)
        values += [str(n) for n in numbers if not info.min <= n <= info.max or (n == info.min and "above" in param.callback.takes)]
        values += ["word", "", "1e", "0x10"]
    if kind == "packages":
        values += ["nonsense", "json,no such", ".json"]
    if kind == "model":
        values += [
            "nonsense",
            "",
            "../x",
            "/no/such",
            "wrong/random",
            "wrong/empty folder",
            "wrong/locked file",
            *special,
            to_file,
            to_folder,
        ]
    if kind in ("word", "words") or (param.name in WRONG_WORD and not is_a(param, "Path")):
        values += ["nonsense", ""]
    return values


@contextmanager
def rights_of_a_user():
    """Take from root what lets it read and write everything; another user has not got it."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    had = data[0]
    data[0] = had & ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = had
        assert libc.capset(header, data) == 0


def tree(root):
    """Return what is there, by name and what it is: another file of the same name is another."""
    return {(str(path.relative_to(root)), path.lstat().st_ino) for path in root.rglob("*") if "recipes" not in path.parts}


@pytest.fixture(autouse=True)
def nothing_waits():
    """Opening a pipe that nobody writes into would take for ever."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("words", "command", "param"), OPTIONS, ids=[" ".join((*w, p.opts[0])) for w, _, p in OPTIONS])
def test_a_wrong_value_is_one_line_with_the_way_out(world, monkeypatch, capsys, words, command, param):
    monkeypatch.chdir(world)
    monkeypatch.delenv("GALLEY_MIRROR", raising=False)
    before, faults = tree(world), []
    assert not (world / "made").exists()
    for value in wrong_values(param):
        argv = call(words, command, param, value)
        with rights_of_a_user():
            status = usage.run(TREE, argv)
        out, err = capsys.readouterr()
        name = param.opts[0].lstrip("-").lower().removesuffix("s")
        said = err.lower().replace("_", "-")
        fine = status == 2 and err.startswith("error: ") and err.count("\n") == 1 and out == ""
        if not fine or name.replace("_", "-") not in said or value.lower().replace("_", "-") not in said or ";" not in err:
            faults.append(f"galley {' '.join(argv)}\n  -> {status}: {out[-200:]}{err[-600:]}")
        if more := tree(world) - before:
            faults.append(f"galley {' '.join(argv)}\n  left {sorted(more)[:3]}")
            shutil.rmtree(world / "made", ignore_errors=True)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["convert-mla", "--model", "right", "--out", "right/ok/sub"], "--out is right/ok/sub, which lies in --model (right)"),
        (["convert-mla", "--out", "right/../right/sub", "--model", "right"], "--out is right/../right/sub, which lies in --model (right)"),
        (["convert-mla", "--model", "right", "--calibration", "deep/down/a.txt", "--out", "deep"], "--out is deep, which is not empty"),
        (["kernels-table", "right/table.csv", "--out", "right/table.csv"], "--out is right/table.csv, which is also BUILDS (right/t"),
        (["fetch", "humaneval", "--mirror", "right", "--out", "right/new"], "--out is right/new, which lies in --mirror (right)"),
        (["fetch", "humaneval", "--out", "made", "--record", "made/x.txt"], "--record is made/x.txt, which lies in --out (made)"),
        (["fetch", "humaneval", "--record", "made", "--out", "made/x"], "--out is made/x, which lies in --record (made)"),
        (["fetch", "humaneval", "--record", "made", "--out", "made"], "--out is made, which is also --record (made)"),
        (["code-eval", "humaneval", "deep/scores/x.jsonl", "--sources", "right", "--out", "deep/scores"],
         "--out is deep/scores, which holds other files, such as 'x.jsonl', which would be lost"),
        (["code-generate", "humaneval", "--model", "right", "--sources", "right", "--out", "right/x.jsonl"],
         "--out is right/x.jsonl, which lies in --model (right)"),
        (["mha2mla", "inspect", "--model", "scratch-600k", "--base", "right", "--corpus", "right", "--out", "right"],
         "--out is right, which is also --base (right)"),
        (["mha2mla", "inspect", "--model", "scratch-600k", "--out", "linked/new", "--base", "right", "--corpus", "right"],
         "--out is linked/new, which lies in --base (right)"),
    ],
)  # fmt: skip
def test_a_place_to_write_is_apart_from_what_is_read_and_written_elsewhere(world, monkeypatch, capsys, argv, said):
    monkeypatch.chdir(world)
    monkeypatch.delenv("GALLEY_MIRROR", raising=False)
    before = tree(world)
    assert usage.run(TREE, argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}") and err.count("\n") == 1 and ";" in err, err
    assert tree(world) == before


def test_what_adds_files_may_hold_what_it_reads(world, monkeypatch, capsys):
    """As stages do: their results lie in the folder that they add to. Past the options, the smoke scale has no such model."""
    monkeypatch.chdir(world)
    argv = ["codeseq", "tune", "--model", "nobody", "--base", "right", "--synthesis", "right", "--scale", "laptop"]
    assert usage.run(TREE, [*argv, "--out", "right"]) == 2
    assert "--out is right, which is also --base (right)" in capsys.readouterr().err
    (world / "base").mkdir()
    (world / "base/config.json").write_text("{}")
    argv[argv.index("right")] = "base"
    for out in ("right", "right/new", "."):
        assert usage.run(TREE, [*argv, "--out", out]) == 2
        assert "nobody" in capsys.readouterr().err
    shutil.rmtree(world / "base")


WRITES = {  # what a command left, and would replace
    "fetch --record": '{"status": "ok", "source": "humaneval", "sha256": {}}',
    "train-scratch --record": '{"sha256": "0"}',
    "certify --out": "paper,scale,model,method,setting,benchmark,metric,unit,value,n_items,status,reason\n",
    "code-certify --out": "paper,scale,model,method,setting,benchmark,metric,unit,value,n_items,status,reason\n",
    "bench --out": "part,setting,metric,unit,ours,goal,met,n,threads,device\n",
    "build-kernel --out": "kernel,target,d_h,dtype,registers,status,reason\n",
    "code-generate --out": '{"task_id": "HumanEval/0", "sample": 0, "completion": "", "finish": "stop"}\n',
    "run-programs out": '{"line": 1, "line_sha256": "0", "id": "1", "verdict": "pass"}\n',
}


@pytest.mark.parametrize("option", WRITES)
def test_a_file_that_the_command_left_is_replaced_and_another_s_is_not(tmp_path, option):
    words, name = option.split(" ")
    param = next(p for w, _, p in OPTIONS if w == (words,) and name in p.opts)
    for other, content in WRITES.items():
        (tmp_path / "f").write_text(content)
        context = SimpleNamespace(meta={}, get_parameter_source=lambda name: None)
        if content == WRITES[option]:
            assert param.callback(context, param, tmp_path / "f") == tmp_path / "f"
        else:
            with pytest.raises(
                GalleyError, match=r"f, which is no file that this command wrote: .*; it takes .*give a new name, or remove"
            ):
                param.callback(context, param, tmp_path / "f")
                pytest.fail(f"{option} would replace what {other} left")


def test_every_path_and_number_says_what_it_takes():
    for words, _, param in OPTIONS:
        where = f"{' '.join(words)} {param.opts[0]}"
        if is_a(param, "Path"):
            assert kind_of(param) in ("folder", "file", "either", "new folder", "new file", "folder made anew"), where
        elif is_a(param, "int") or is_a(param, "float"):
            assert kind_of(param) == "number", where
        elif is_a(param, "bool"):
            assert param.type_descriptor.annotation is bool, where


def test_the_walker_finds_the_commands():
    found = {" ".join(words) for words, _ in commands()}
    assert {"fetch", "plan", "mha2mla arms", "code-generate", "run-programs", "claims check"} <= found
    assert len(OPTIONS) > 150
