"""Conversion: CPU seconds and memory of calibrating (2-norm) and factoring (joint SVD) a model, in a process of its own.

Source: ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from galley.papers.mha2mla.bench_rows import limit_row

SCRIPT = """
import json, sys, tempfile, time
from pathlib import Path
from galley.artifact import peak_rss_mib
from galley.papers.mha2mla.own_model import convert_own_model
imported, cpu = peak_rss_mib(), time.process_time()
import torch
with tempfile.TemporaryDirectory() as folder:
    convert_own_model(sys.argv[1], out=Path(folder) / "out", d_kv=16, strategy="2-norm", r=None, svd="joint", balance="balanced",
                      expand_gqa=False, calibration=None, dtype="float32", revision=None)
print(json.dumps({"cpu_s": time.process_time() - cpu, "mib": peak_rss_mib() - imported, "threads": torch.get_num_threads()}))
"""


def bench_convert(base: Path) -> list[dict[str, Any]]:
    """Return the CPU seconds and the peak memory as a multiple of the float32 model."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(base)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    models = seen["mib"] * 2**20 / (4 * parameters(base))
    facts = {"n": 1, "threads": seen["threads"], "dtype": "float32", "device": "cpu"}
    setting = "2-norm, joint, d_kv=16, 8192 calibration tokens"
    return [
        limit_row(part="convert", setting=setting, metric="cpu", unit="s", ours=seen["cpu_s"], limit=60, **facts),
        limit_row(part="convert", setting=setting, metric="peak_memory", unit="models", ours=models, limit=2.5, **facts),
    ]  # fmt: skip


def parameters(base: Path) -> int:
    """Return the stored parameters of a model directory, from the safetensors headers."""
    from safetensors import safe_open

    total = 0
    for path in base.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                size = 1
                for side in tensors.get_slice(name).get_shape():
                    size *= side
                total += size
    return total
