"""Scratch copies of the project, and the environment that runs Snakemake in them."""

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from galley.plan import read_plan_of
from galley.recipe import recipe_names
from galley.stage import stages_of

ROOT = Path(__file__).parents[2]
TREE = ("Snakefile", "config.yaml", "rules", "recipes", "profiles")
TABLE = "results/table_mha2mla.csv"
SMOKE = ("--config", "scale=smoke", "missing=accept")  # without a network some sources are out of reach
# Loaded by every Python process: nothing but local sockets, as if the cable were out; each attempt is noted.
NO_NETWORK = """
import os, socket
_connect = socket.socket.connect
def _refuse(what):
    with open(os.environ["NO_NETWORK_LOG"], "a") as log:
        log.write(f"{what}\\n")
_local = ("127.0.0.1", "localhost") if os.environ.get("NO_NETWORK_BUT_LOOPBACK") else ()
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in _local:
        _refuse(f"connect {address}")
        raise OSError(101, "Network is unreachable")
    return _connect(self, address)
_getaddrinfo = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    if host in _local:
        return _getaddrinfo(host, *args, **kwargs)
    _refuse(f"look up {host}")
    raise socket.gaierror(-3, "Temporary failure in name resolution")
socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = getaddrinfo
"""


@dataclass(frozen=True)
class Tree:
    """A copy of the project and the environment of what runs in it."""

    folder: Path
    env: dict[str, str]

    def snakemake(self, *arguments: str) -> tuple[int, str]:
        """Run Snakemake in the copy; return its exit code and all that it said."""
        done = self.run("snakemake", *arguments)
        return done.returncode, done.stdout + done.stderr

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the copy."""
        return subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)

    def failure(self, text: str) -> str:
        """Return the end of a failed run's output and of every log, for the assertion's message."""
        logs = [f"== {p.relative_to(self.folder)}\n{p.read_text()[-1500:]}" for p in sorted(self.folder.glob("logs/**/*.log"))]
        return "\n".join([text[-4000:], *logs])


def share(folder: Path) -> Path:
    """Copy the project once for all trees of a session, so that an edit meanwhile does not change a run half way."""
    for name in ("src", *TREE):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copyfile(source, folder / name)
    return folder


def copy_tree(folder: Path, *, shared: Path, tiny: bool, network: bool = False, loopback: bool = False, source: bool = False) -> Tree:
    """Copy what a run reads; `tiny` replaces the smoke scale.

    Without `network` every connection fails; `loopback` lets through those to this machine. `source`: with code of its own, to be changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TREE, *(["src"] if source else [])):
        original = shared / name
        shutil.copytree(original, folder / name) if original.is_dir() else shutil.copyfile(original, folder / name)
    if tiny:
        for path in folder.glob("recipes/*/recipe.yaml"):
            recipe = yaml.safe_load(path.read_text())
            recipe["scales"]["smoke"] = yaml.safe_load((ROOT / "tests/papers" / path.parent.name / "tiny.yaml").read_text())
            path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    paths = [str((folder if source else shared) / "src")]
    env = {k: v for k, v in os.environ.items() if k not in ("GALLEY_MIRROR", "HF_HUB_OFFLINE", "SNAKEMAKE_PROFILE")}
    env |= {"GALLEY_CACHE": str(folder / "cache"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}
    if not network:
        block = folder / "unreachable"
        block.mkdir()
        (block / "sitecustomize.py").write_text(NO_NETWORK)
        paths.insert(0, str(block))
        env |= {"NO_NETWORK_LOG": str(block / "attempts"), **({"NO_NETWORK_BUT_LOOPBACK": "1"} if loopback else {})}
    env["PYTHONPATH"] = os.pathsep.join(paths)
    if not _compiled("snakemake"):
        # Packages without bytecode cost five seconds a process: compile them once for all processes of the session.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env.setdefault("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
    return Tree(folder, env)


def tables(tree: Tree) -> list[str]:
    """Return the tables of all recipes."""
    return [f"results/table_{name}.csv" for name in recipe_names(tree.folder / "recipes")]


def arms_inputs(tree: Tree, *, model: str) -> list[str]:
    """Return what an arms job at paper scale waits for: a test lays these files down to see how that job is submitted."""
    sources = stages_of("mha2mla")["arms"].sources_of(read_plan_of("mha2mla", "paper", folder=tree.folder / "recipes"))
    made = [f"models/{model}/config.json", "corpus/train.jsonl", "corpus/heldout.jsonl", f"mha2mla/{model}/norms.safetensors"]
    kept = [f"{name}{end}" for name in sources for end in ("/source.json", ".json")]
    return [f"results/paper/{name}" for name in [*made, f"models/{model}.json"]] + [f"results/sources/{name}" for name in kept]


def s3_env(address: str) -> dict[str, str]:
    """Return the environment that sends the storage to a bucket server."""
    keys = {"ACCESS_KEY": "key", "SECRET_KEY": "secret", "ENDPOINT_URL": address}
    return {f"SNAKEMAKE_STORAGE_S3_{name}": value for name, value in keys.items()}


def _compiled(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None and Path(importlib.util.cache_from_source(spec.origin)).exists()
