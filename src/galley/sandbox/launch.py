"""The command that starts a runner: by our own launcher, inside bubblewrap, or bare when the user says so.

Own namespaces come first: they give every program a process tree of its own. bubblewrap is for machines where only it may make
them (a setuid bwrap, or an AppArmor profile that names it); there the runner and its programs share one tree, so a program can
kill its runner: that is a crash of this program, and the runner is replaced.

Source: ours; bwrap(1).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.sandbox.inside import jail

SAFE = ("namespaces", "bwrap")  # tried in this order
TMP_BYTES = 64 << 20  # of a bubblewrap sandbox's temporary folder
_BOOT = """
import json, sys, types
root, descriptor, config = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
for name, path in (("galley", root), ("galley.sandbox", root + "/sandbox")):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path]
from galley.sandbox.inside.runner import main
main(descriptor, config)
"""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def environment(tmp: str, hash_seed: int) -> dict[str, str]:
    """Return all that a program sees of an environment."""
    own = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "HOME": tmp, "TMPDIR": tmp, "LANG": "C.UTF-8"}
    return own | _ONE_THREAD | {"PYTHONHASHSEED": str(hash_seed)}


def shown_folders() -> list[str]:
    """Return what a program may see: the system's libraries and this interpreter with its packages."""
    own = [path for path in dict.fromkeys((sys.base_prefix, sys.prefix)) if not path.startswith("/usr")]
    return ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", *own]


def command(mode: str, *, descriptor: int, tmp: str, preload: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return the runner's command line; `descriptor` is its end of the link."""
    root = str(Path(__file__).parents[1])
    inside = "/.galley" if mode == "bwrap" else root
    config: dict[str, Any] = {"mode": mode, "shown": shown_folders(), "preload": list(preload), "env": dict(env), "tmp": tmp}
    python = [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT, inside, str(descriptor), json.dumps(config)]
    return [*_bwrap(root, inside), *python] if mode == "bwrap" else python


def _bwrap(root: str, inside: str) -> list[str]:
    found = shutil.which("bwrap")
    if found is None:
        raise GalleyError("bubblewrap is not installed")
    words = [found, "--unshare-all", "--new-session", "--uid", str(jail.GUEST), "--gid", str(jail.GUEST)]
    words += ["--size", str(TMP_BYTES), "--tmpfs", jail.TEMPORARY, "--ro-bind", root, inside]
    for folder in shown_folders():
        path = Path(folder)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), folder]
        elif path.exists():
            words += ["--ro-bind", folder, folder]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev"]
    return [*words, "--chdir", "/"]
