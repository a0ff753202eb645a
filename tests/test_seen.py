"""What is said to people is text: nothing in it moves a cursor, colours a line or turns it round."""

import ast
import re
from pathlib import Path

import pytest

from galley import cli, usage
from galley.artifact import GalleyError
from galley.seen import say

SRC = Path(__file__).parents[1] / "src/galley"
HOSTILE = "a\x1b[31mb\x07\x9b2J\u202ec\u2066"
SHOWN = "a[U+001B][31mb[U+0007][U+009B]2J[U+202E]c[U+2066]"
# Own lines, made of the machine's facts; the programs are those of measurements, which the commands below start.
OTHERS = {"bench_peers.py", "bench_convert.py", "redact.py", "seen.py", "certify.py"}


@pytest.mark.parametrize("err", [False, True])
def test_a_text_of_several_lines_is_said_with_its_spaces_and_without_controls(err, capsys):
    say(f"one\n  {HOSTILE}\n", err=err)
    assert capsys.readouterr()[err] == f"one\n  {SHOWN}\n\n" and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [GalleyError, RuntimeError])
def test_an_error_s_text_steers_no_terminal(kind, monkeypatch, capsys):
    def fails(*_, **__):
        raise kind(HOSTILE)

    monkeypatch.setattr(cli, "read_plan_of", fails)
    assert usage.run(cli.app, ["plan", "mha2mla"]) == (2 if kind is GalleyError else 1)
    said = capsys.readouterr().err
    assert SHOWN in said and not {"\x1b", "\x07", "\x9b", "\u202e", "\u2066"} & {*said}


def test_a_plan_s_page_is_said_as_text(monkeypatch, capsys):
    monkeypatch.setattr("galley.cost_page.overview", lambda *_, **__: HOSTILE)
    assert usage.run(cli.app, ["plan"]) == 0 and capsys.readouterr().out == f"{SHOWN}\n"


def test_commands_say_nothing_otherwise():
    """`typer.echo` and `print` would hand on what a recipe, a model or a server says."""
    for path in [path for path in SRC.rglob("*.py") if re.search(r"echo\(|print(_exc)?\(", path.read_text())]:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        plain = {ast.unparse(call) for call in calls} & {"typer.echo", "print", "click.echo", "traceback.print_exc"}
        assert not plain or path.name in OTHERS, (path, plain)
