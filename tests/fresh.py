"""Processes that have imported neither transformers nor galley, without the seconds that each would spend on torch.

One process imports what those two need from elsewhere, and forks a child for every program: a child starts with torch, and
its transformers and galley are its own. Nothing of them is imported here, so the order of imports is the program's.
"""

import atexit
import json
import subprocess
import sys
from functools import cache

ELSEWHERE = ("torch", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor", "pandas", "scipy.optimize")
SERVER = f"""
import json, os, sys, tempfile, traceback
import {", ".join(ELSEWHERE)}

def child(job, out, err):
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.chdir(job["cwd"])
    status = 1
    try:
        loaded = [name for name in sys.modules if name.partition(".")[0] in ("galley", "transformers")]
        assert not loaded, loaded
        exec(compile(job["code"], "program", "exec"), {{"__name__": "__main__"}})
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            child(json.loads(line), out, err)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0), err.seek(0)
        print(json.dumps([status, out.read().decode(), err.read().decode()]), flush=True)
"""


@cache
def _server():
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)  # its input ends, and so does it
    return server


def run_fresh(code, *, cwd="."):
    """Run a program in a fresh process; return what subprocess.run would, with both outputs as text."""
    server = _server()
    server.stdin.write(json.dumps({"code": code, "cwd": str(cwd)}) + "\n")
    server.stdin.flush()
    status, out, err = json.loads(server.stdout.readline())
    return subprocess.CompletedProcess(code, status, out, err)
