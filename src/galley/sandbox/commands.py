"""The sandbox's commands. Source: ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
sandbox_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Untrusted programs: what isolates them here.")
app.add_typer(sandbox_app, name="sandbox")
UnsafeOption = Annotated[bool, typer.Option("--unsafe", help="run programs WITHOUT isolation; every row says so")]


@sandbox_app.command()
def doctor() -> None:
    """Try to break out, in every way that must fail, and say what isolates programs here or what is missing."""
    from galley.artifact import GalleyError
    from galley.sandbox import probe
    from galley.sandbox.pool import Sandbox

    for name, text in probe.kernel():
        typer.echo(f"  {name:24} {text}")
    try:
        with Sandbox(probe=False) as sandbox:
            typer.echo(f"  {'isolation':24} {sandbox.isolation}")
            findings = probe.quick(sandbox) + probe.slow(sandbox)
    except GalleyError as error:
        typer.echo(f"\n{error}\n\n{probe.ADVICE}", err=True)
        raise typer.Exit(1) from None
    for finding in findings:
        typer.echo(f"  {finding.name:24} {'held' if finding.held else 'BROKEN'} {finding.detail}".rstrip())
    broken = [finding.name for finding in findings if not finding.held]
    typer.echo(f"\nno_sandbox: {', '.join(broken)} did not hold" if broken else "\nPrograms are isolated.")
    raise typer.Exit(1 if broken else 0)


@app.command()
def run_programs(
    source: Annotated[Path, typer.Argument(help="JSON lines: id, code, do, limits; see docs/sandbox.md")],
    out: Annotated[Path, typer.Argument(help="JSON lines: one outcome per input line, in its order")],
    workers: Annotated[int, typer.Option(min=1)] = 1,
    cpu_s: Annotated[float, typer.Option(help="CPU seconds of one program")] = 5.0,
    wall_s: Annotated[float, typer.Option(help="wall seconds of one program")] = 10.0,
    memory_mb: Annotated[int, typer.Option(help="memory of one program")] = 1024,
    preload: Annotated[str, typer.Option(help="packages to import once for all programs, by commas")] = "",
    unsafe: UnsafeOption = False,
) -> None:
    """Run untrusted programs in the sandbox. Killed, it goes on where it was; lines that are no program are named."""
    from galley.sandbox.batch import run_programs as run
    from galley.sandbox.pool import Sandbox
    from galley.sandbox.types import Limits

    limits = Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mb=memory_mb)
    packages = [name for name in preload.split(",") if name]
    with Sandbox(workers=workers, limits=limits, preload=packages, unsafe=unsafe) as sandbox:
        counts = run(source, out, sandbox=sandbox)
    typer.echo(json.dumps(counts, sort_keys=True))
    if counts.get("invalid"):
        raise typer.Exit(1)
