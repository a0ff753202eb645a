"""Scratch copies of the project, and the environment that runs Snakemake in them."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TREE = ("Snakefile", "config.yaml", "rules", "recipes", "profiles")
TABLE = "results/table_mha2mla.csv"
SMOKE = ("--config", "scale=smoke")
# Below the smoke scale: every stage runs, on next to nothing. (d_h = 32: the quantised caches group 64 values of the rotary part.)
TINY = {
    "models": {
        "scratch-tiny": {
            "kind": "scratch",
            "params_m": 0.1,
            "scratch": {
                "vocab_size": 384, "d_model": 64, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_ff": 64,
                "context": 128, "steps": 10, "batch_size": 4, "lr": 3.0e-3,
            },
        }
    },
    "arms": [
        {"method": "original", "strategy": "all", "convert": False, "train": False, "benchmark": True},
        {"method": "2-norm+joint", "strategy": "2-norm", "d_kv": 16, "benchmark": True},
        {"method": "control:random_basis", "strategy": "2-norm", "d_kv": 16, "svd": "random"},
        {"method": "low", "strategy": "low"},
    ],
    "corpus": {"max_bytes": {"stdlib": 300_000, "pydoc": 60_000, "shakespeare": 100_000, "essays": 50_000}},
    "calibration": {"sequences": 2, "seq_len": 48},
    "training": {"steps": 4, "batch_size": 2, "seq_len": 48, "eval_every": 2},
    "heldout": {"windows": 4, "window_tokens": 64, "curve_windows": 2},
    "benchmarks": {
        "commonsense_limit": 2, "longbench_limit": 1, "longbench_max_length": 120, "longbench_max_new_tokens": 2,
        "needle_lengths": [120], "needle_depths": [0.5], "continuation_windows": 1, "continuation_prefix": 64,
        "continuation_tokens": 16, "quant_residual": 16,
    },
    "seeds": 1,
    "shards": 2,
}  # fmt: skip
TINY_FOURIER = {
    "models": TINY["models"],
    "corpus": TINY["corpus"],
    "local_min": 16,
    "calibration": {"prompts": 1, "tokens": 112},
    "needles": {"lengths": [119], "depths": [0.2, 0.8], "repeats": 1},  # read as 106 tokens: HQQ groups 64 values of 32 a token
    "words": {"fact": "{key} {value}.", "ask": "?", "stub": "{key}", "ask_all": "?", "stub_all": "{key}"},
    "needlebench": {"lengths": [120], "depths": [0.5], "repeats": 1, "new_tokens": 2, "methods": ["full", "fourier"]},
    "longbench": {"limit": 1, "protocol": "paper", "max_length": 112, "gold_tokens": 4, "new_tokens": 2, "generate": ["full"]},
    "ruler": {"tasks": ["niah_single_2"], "length": 120, "limit": 1, "new_tokens": 6, "generate": ["full"]},
    "seeds": 1,
    "shards": 1,
}
TINY_CODESEQ = {
    "models": {},
    "synthesis": {"sequences": "generated", "problems": 16, "gtg_problems": 5, "rollouts": 32},
    "induction": {"steps": 4, "answer_tokens": 60},
    "reflection": {"steps": 4, "answer_tokens": 60},
    "seeds": 1,
    "shards": 2,
}
TINY_CASE2CODE = {
    "models": {},
    "functions": {"wheels": [], "packages": ["more_itertools"], "limit": 50},
    "inputs": {"cases": 8, "min_hidden": 2},
    "heldout": 0.4,
    "sequences": {"held_out": 8, "steps": 4, "answer_tokens": 60, "shards": 1},
    "seeds": 1,
}
TINY_UNITCODER = {
    "source_corpus": {"stdlib_files": 60, "wheel": False},
    "pipeline": {"functions": 6, "inputs": 8, "tries": 4},
    "mutants": {"benchmarks": ["corpus"], "tasks": 5, "per_task": 4, "inputs": 12},
    "seeds": 1,
}
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
        done = subprocess.run(["snakemake", *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

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


def copy_tree(folder: Path, *, shared: Path, tiny: bool, network: bool = False, loopback: bool = False) -> Tree:
    """Copy what a run reads; `tiny` replaces the smoke scale.

    Without `network` every connection fails; `loopback` lets through those to this machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TREE:
        source = shared / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copyfile(source, folder / name)
    if tiny:
        for name, plan in (
            ("mha2mla", TINY),
            ("fourier_attention", TINY_FOURIER),
            ("codeseq", TINY_CODESEQ),
            ("case2code", TINY_CASE2CODE),
            ("unitcoder", TINY_UNITCODER),
        ):
            path = folder / "recipes" / name / "recipe.yaml"
            recipe = yaml.safe_load(path.read_text())
            recipe["scales"]["smoke"] = plan
            path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    paths = [str(shared / "src")]
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


def arms_inputs(tree: Tree, *, model: str) -> list[str]:
    """Return what an arms job at paper scale waits for: a test lays these files down to see how that job is submitted."""
    rules = (tree.folder / "rules/sources.smk").read_text()
    listed = "".join(rules.split(f"{name} = [")[1].split("]")[0] for name in ("OPTIONAL", "HUB_BENCHMARKS"))
    made = [f"models/{model}/config.json", "corpus/train.jsonl", "corpus/heldout.jsonl", f"mha2mla/{model}/norms.safetensors"]
    return [f"results/paper/{name}" for name in made] + [f"results/sources/{name}/source.json" for name in re.findall(r'"(\w+)"', listed)]


def s3_env(address: str) -> dict[str, str]:
    """Return the environment that sends the storage to a bucket server."""
    keys = {"ACCESS_KEY": "key", "SECRET_KEY": "secret", "ENDPOINT_URL": address}
    return {f"SNAKEMAKE_STORAGE_S3_{name}": value for name, value in keys.items()}


def _compiled(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None and Path(importlib.util.cache_from_source(spec.origin)).exists()
