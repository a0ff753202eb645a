"""The sandbox's commands. Source: ours."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.artifact import sole
from galley.options import WorkersOption, file, new_file, number
from galley.options import checked as checked_by
from galley.seen import say

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
sandbox_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Untrusted programs: what isolates them here.")
app.add_typer(sandbox_app, name="sandbox")


def _not_here(names: str) -> str | None:
    given = [name for name in names.split(",") if name]
    absent = [name for name in given if not name.replace(".", "_").isidentifier() or not find_spec(name.split(".")[0] or "_")]
    return f"has {absent[0]!r}, which is not installed" if absent else None


PACKAGES = checked_by("packages", "packages that are installed here, by commas", _not_here)
OUTCOMES = new_file(inputs.json_lines(line=int, line_sha256=str, verdict=str))
LINES = """\b
A line is a program and what to do with it; "limits" may be left out:
  {"id": "1", "code": "print(1)", "do": {"kind": "run", "stdin": ""}, "limits": {"cpu_s": 2}}
  {"id": "2", "code": "def f(x): return x", "do": {"kind": "calls", "entry_point": "f", "inputs": [[1], [2]]}}
  {"id": "3", "code": "...", "do": {"kind": "check", "entry_point": "f", "test": "def check(f): assert f(1) == 1"}}
  {"id": "4", "code": "...", "do": {"kind": "unit_tests", "entry_point": "f", "tests": "a unittest class"}}
  {"id": "5", "code": "...", "do": {"kind": "stdin", "inputs": ["first run", "second run"]}}
Values that JSON lacks: {"!tuple": [1, 2]}, {"!set": []}, {"!bytes": "00ff"}, {"!float": "nan"}, {"!dict": [[1, 2]]}.
An outcome has id, verdict (pass, fail, error, timeout, memory, crash, flood, no_result, invalid), message and what came.

\b
Example:
  galley run-programs programs.jsonl outcomes.jsonl --workers 2 --cpu-s 2
"""
UnsafeOption = Annotated[bool, typer.Option("--unsafe", help="run programs WITHOUT isolation; every row says so")]


@sandbox_app.command(epilog="Example:  galley sandbox doctor")
def doctor() -> None:
    """Try to break out, in every way that must fail, and say what isolates programs here or what is missing."""
    from galley.artifact import GalleyError
    from galley.sandbox import probe
    from galley.sandbox.pool import Sandbox

    for name, text in probe.kernel():
        say(f"  {name:24} {text}")
    try:
        with Sandbox(probe=False) as sandbox:
            say(f"  {'isolation':24} {sandbox.isolation}")
            findings = probe.quick(sandbox) + probe.slow(sandbox)
    except GalleyError as error:
        say(f"\n{error}\n\n{probe.ADVICE}", err=True)
        raise typer.Exit(1) from None
    for finding in findings:
        say(f"  {finding.name:24} {'held' if finding.held else 'BROKEN'} {finding.detail}".rstrip())
    broken = [finding.name for finding in findings if not finding.held]
    say(f"\nno_sandbox: {', '.join(broken)} did not hold" if broken else "\nPrograms are isolated.")
    raise typer.Exit(1 if broken else 0)


@app.command(epilog=LINES)
@sole
def run_programs(
    source: Annotated[Path, typer.Argument(help="JSON lines, a program each, as below", callback=file("JSON lines, a program each"))],
    out: Annotated[Path, typer.Argument(help="JSON lines: one outcome per input line, in its order", callback=OUTCOMES)],
    workers: WorkersOption = 1,
    cpu_s: Annotated[float, number(0.0, 86_400.0, above=True, help="CPU seconds of one program")] = 5.0,
    wall_s: Annotated[float, number(0.0, 86_400.0, above=True, help="wall seconds of one program")] = 10.0,
    memory_mb: Annotated[int, number(16, 1 << 20, help="memory of one program")] = 1024,
    preload: Annotated[str, typer.Option(help="packages to import once for all programs, by commas", callback=PACKAGES)] = "",
    unsafe: UnsafeOption = False,
) -> None:
    """Run untrusted programs in the sandbox. Killed, it goes on where it was; lines that are no program are named."""
    from galley.sandbox.batch import checked
    from galley.sandbox.batch import run_programs as run
    from galley.sandbox.pool import Sandbox
    from galley.sandbox.types import Limits

    checked(source)
    limits = Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mb=memory_mb)
    packages = [name for name in preload.split(",") if name]
    with Sandbox(workers=workers, limits=limits, preload=packages, unsafe=unsafe) as sandbox:
        counts = run(source, out, sandbox=sandbox)
    say(json.dumps(counts, sort_keys=True))
    if counts.get("invalid"):
        raise typer.Exit(1)
