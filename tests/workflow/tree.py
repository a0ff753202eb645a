"""A scratch copy of the project with a smoke scale that runs in a minute."""

import os
import shutil
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TREE = ("Snakefile", "config.yaml", "rules", "recipes", "profiles")
TINY = {
    "models": {
        "scratch-tiny": {
            "kind": "scratch",
            "params_m": 0.1,
            "scratch": {
                "vocab_size": 384, "d_model": 64, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "d_ff": 64,
                "context": 96, "steps": 12, "batch_size": 4, "lr": 3.0e-3,
            },
        }
    },
    "corpus": {"max_bytes": {"stdlib": 300_000, "pydoc": 60_000, "shakespeare": 100_000, "essays": 50_000}},
    "calibration": {"sequences": 2, "seq_len": 48},
    "training": {"steps": 4, "batch_size": 2, "seq_len": 48, "eval_every": 2},
    "heldout": {"windows": 4, "window_tokens": 64, "curve_windows": 2},
    "benchmarks": {
        "commonsense_limit": 2, "longbench_limit": 1, "longbench_max_length": 90, "longbench_max_new_tokens": 2,
        "needle_lengths": [90], "needle_depths": [0.5], "continuation_windows": 1, "continuation_prefix": 64,
        "continuation_tokens": 16, "quant_residual": 16,
    },
    "seeds": 1,
    "shards": 2,
}  # fmt: skip
# Nothing but local sockets: a connection anywhere else fails as if the cable were out.
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(101, "Network is unreachable")
    return _connect(self, address)
socket.socket.connect = connect
"""


def copy_tree(folder: Path) -> Path:
    """Copy what a run reads, with the smoke scale made tiny."""
    for name in TREE:
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copyfile(source, folder / name)
    path = folder / "recipes/mha2mla/recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["scales"]["smoke"] = TINY
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder


def offline_env(folder: Path) -> dict[str, str]:
    """Return an environment without network, mirror or download cache."""
    block = folder / "no_network"
    block.mkdir()
    (block / "sitecustomize.py").write_text(NO_NETWORK)
    env = {k: v for k, v in os.environ.items() if k not in ("GALLEY_MIRROR", "HF_HUB_OFFLINE")}
    paths = [str(block), str(ROOT / "src")]
    bin_folder = str(Path(sys.executable).parent)
    return env | {
        "PYTHONPATH": os.pathsep.join(paths),
        "GALLEY_CACHE": str(folder / "cache"),
        "PATH": bin_folder + os.pathsep + env["PATH"],
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    }
