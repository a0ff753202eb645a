"""`galley ...` as a user types it, in this process: a start of its own costs a second of imports, and few tests are about the start."""

import contextlib
import io
import subprocess

from galley import usage
from galley.cli import app, spread


def galley(*args, cwd="."):
    """Run a command line from a folder; return what subprocess.run would, with both outputs as text."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = usage.run(app, spread(list(args)))
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())
