"""The command line's edge: errors as one line, what a command says at its end, and what a fault of galley itself looks like.

A user's error is one line on standard error and exit code 2. A fault of the code is a line that says so and its traceback, exit code 1:
it must stay diagnosable, also in a job's log.

Source: ours.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from galley.artifact import GalleyError
from galley.disk import full, no_room
from galley.options import refused, told
from galley.seen import say, visible

PLACES = ("project", "version", "repo", "commit", "revision", "folder", "url")  # fields of an origin that say where it is
UNDER = ("torch", "transformers", "triton", "snakemake")
OF_THE_MACHINE = {
    errno.EROFS: "name a place that may be written",
    errno.EACCES: "give the rights to it, or name another place",
    errno.EPERM: "give the rights to it, or name another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENAMETOOLONG: "give a shorter name",
}


def run(app: typer.Typer, argv: Sequence[str]) -> int:
    """Run a command line; return the exit code."""
    try:
        status = app(argv, prog_name="galley", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except GalleyError as error:
        return _failed(str(error))
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its help
            say(error, err=True)
            return 2
        return _failed(str(misused(error)))
    except Exception as error:
        if no_room(error):
            return _failed(full(error))
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            return _failed(f"{error.filename or 'the machine'}: {error.strerror}; {OF_THE_MACHINE[error.errno]}")
        said = " ".join(str(error).split())[:300]
        say(f"internal error: {type(error).__name__}: {said}; this is a fault of galley, and where it is follows", err=True)
        say(traceback.format_exc().rstrip("\n"), err=True)
        return 1


def _failed(message: str) -> int:
    say(f"error: {visible(message)}", err=True)  # it may quote what a file or a server says
    return 2


def misused(error: Any) -> GalleyError:
    """Return a wrong use of the command line as an error that names the option and the value, and the near one where there is one."""
    context, param, kind = getattr(error, "ctx", None), getattr(error, "param", None), type(error).__name__
    words = context.command_path if context else "galley"
    help_words = f"see `{words} --help`"
    if kind == "NoSuchOption":
        near = error.possibilities or get_close_matches(error.option_name, _flags(context), n=1, cutoff=0.5)
        return GalleyError(f"{error.option_name} is no option of `{words}`; {_near(near)}{help_words}")
    if kind == "BadOptionUsage":
        return GalleyError(f"{error.option_name} is given no value; see the command's --help")
    if kind == "MissingParameter" and param is not None:
        takes = getattr(param.callback, "takes", None) or getattr(param, "help", None) or "a value"
        return GalleyError(f"{told(param)} is missing; it takes {takes}; {help_words}")
    fault = getattr(error.__cause__, "errors", None)
    if param is not None and fault:
        return refused(param, fault()[0]["input"], context=context)
    first, _, rest = error.format_message().rstrip(".").partition(". ")
    return GalleyError(f"{_small(first)} of `{words}`; {_small(rest) + ' ' if rest else ''}{help_words}")


def _near(names: Sequence[str]) -> str:
    return f"did you mean {' or '.join(sorted(names))}? " if names else ""


def _flags(context: Any) -> list[str]:
    return [flag for one in context.command.params for flag in one.opts if flag.startswith("-")]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def versions(asked: bool) -> None:
    """Say the versions of galley, Python and what they stand on, from the packages' metadata: importing torch costs seconds."""
    if asked:
        say("\n".join([f"galley {_version('galley')}", f"python {sys.version.split()[0]}", *(f"{n} {_version(n)}" for n in UNDER)]))
        raise typer.Exit


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"


def fetched(record: Mapping[str, Any], out: Path) -> str:
    """Return the closing lines of a fetch: what came, from where and under which licence, or why nothing did and what to do."""
    if record["status"] != "ok":
        return "\n".join(
            [f"{record['source']} is absent: {'; '.join(record['tried'])}", f"to supply it by hand: {record['how_to_supply']}"]
        )
    origin = record["origin"]
    where = " ".join(str(origin[key]) for key in ("kind", *PLACES) if origin.get(key))
    size = f"{record['bytes']:,} bytes" if "bytes" in record else f"{record['items']:,} items"
    return "\n".join([f"{record['source']} is in {out}: {size}", f"origin: {where}", f"licence: {record['licence']}"])
