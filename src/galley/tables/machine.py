"""What a run was made with: the project's commit, the versions that decide numbers, and the machine.

Source: ours. Nothing here changes while a run is interrupted and goes on; no name of a host or a person is among it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("galley", "torch", "transformers", "snakemake")
FACTS = ["commit", *PACKAGES, "python", "cpu", "cores", "memory_gib", "gpu", "os"]
DECIDES = ("src", "kernels", "rules", "recipes", "Snakefile", "config.yaml")  # where a change makes a checkout dirty


@functools.cache
def made_with() -> dict[str, str]:
    """Return FACTS of this process, each a text; empty where there is none."""
    facts = dict.fromkeys(FACTS, "")
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[name] = metadata.version(name)
    facts |= {"commit": commit(Path(__file__).parents[1] / "__init__.py"), "python": platform.python_version()}
    return facts | {"cpu": cpu_model(), "cores": str(os.cpu_count() or ""), "memory_gib": memory_gib(), "gpu": gpus(), "os": system()}


def commit(file: Path) -> str:
    """Return the commit of the checkout that `file` is part of, with -dirty if what decides its results differs; else nothing."""
    folder = file.resolve().parent
    top = _git(folder, "rev-parse", "--show-toplevel")
    if not top or not _git(folder, "ls-files", file.resolve().name):
        return ""  # no checkout, or one of something else that we are installed in
    found = _git(folder, "rev-parse", "--short=12", "HEAD") or ""
    return f"{found}-dirty" if found and _git(Path(top), "status", "--porcelain", "--", *DECIDES) != "" else found


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says; None where it fails or is not there. It takes no lock and heeds no variable of a caller's checkout."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "--no-optional-locks", "-C", str(folder), *words]
        return subprocess.run(command, env=own, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    return None


def cpu_model() -> str:
    """Return the processor's name."""
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return " ".join((found[1] if found else platform.processor() or platform.machine()).split())


def memory_gib() -> str:
    """Return the machine's memory in whole GiB."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return str(round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30))
    return ""


def gpus(folder: Path = Path("/proc/driver/nvidia/gpus")) -> str:
    """Return the names of NVIDIA's GPUs by its driver, each with its count; torch need not be imported for it."""
    found = [re.search(r"^Model:\s*(.+)$", _read(str(path)), re.MULTILINE) for path in sorted(folder.glob("*/information"))]
    names = [" ".join(one[1].split()) for one in found if one]
    return ", ".join(f"{names.count(name)} x {name}" for name in sorted(set(names)))


def system() -> str:
    """Return the operating system and its kernel."""
    kernel = f"{platform.system()} {platform.release()}"
    with contextlib.suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    return f"macOS {platform.mac_ver()[0]}, {kernel}" if platform.mac_ver()[0] else kernel


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""
