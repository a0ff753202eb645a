"""Ahead-of-time builds of the Triton kernels, without a GPU: what the compiler says of registers, spills and shared memory.

Source: ours. Registers and spills are ptxas's own report on the PTX (NVIDIA) or the counts in the assembly (AMD). FLOPs and bytes
are counted from the shapes of a step, and roofline times come from data sheets: models, not measurements.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import GalleyError, atomic_path

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
HEAD_DIMS = (64, 128)
DTYPES = {"fp16": "*fp16", "bf16": "*bf16", "fp32": "*fp32"}
STATE = {"STATE", "WEIGHT", "GAIN", "OFFSET", "Z", "SHIFT", "TILE", "SPECTRAL", "P", "MAX", "SUM", "PART", "TOP", "TOTAL", "Y",
         "K_STATE", "V_STATE", "K_WEIGHT", "V_WEIGHT", "K_GAIN", "K_OFFSET", "V_GAIN", "V_OFFSET", "SPECTRAL_PART"}  # fmt: skip
LISTS = {"CHANNELS": "*i64", "K_REST": "*i64", "V_REST": "*i64", "K_CHANNELS": "*i64", "V_CHANNELS": "*i64", "SLOT": "*i32"}
COLUMNS = ["kernel", "target", "d_h", "dtype", "registers", "spill_bytes", "shared_bytes", "num_warps", "num_stages", "status", "reason"]


def kernels() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return every kernel with the constants of a Llama-like launch (8 KV heads, groups of 4); D_H and widths follow the head."""
    from galley.kernels.flash_fourier import triton_kernels as ours
    from galley.kernels.flash_fourier import triton_rebuild as theirs
    from galley.kernels.flash_fourier.triton import Blocks

    blocks = Blocks()
    heads = {"N_KV": 8, "GROUP": 4, "ROWS": 4}
    tile = {"BT": blocks.tokens, "BK": blocks.orders, "BC": blocks.channels}
    return {
        "flash_fourier.project_query": (ours.project_query, {**heads, "BN": 32, "BC": blocks.channels}),
        "flash_fourier.scores": (ours.scores, {**heads, **tile, "FFT": False}),
        "flash_fourier.project_weights": (ours.project_weights, {**heads, **tile, "BS": blocks.chunk, "BM": 32, "FFT": False}),
        "flash_fourier.merge": (ours.merge, {**heads, "BD": 32, "BM": 32, "NATURAL": False}),
        "flash_fourier.rebuild_scores": (
            theirs.rebuild_scores,
            {**heads, "BLOCK": theirs.BLOCK, "BT": theirs.TILE, "BK": theirs.ORDERS},
        ),
    }


def signature_of(fn: Any, constants: dict[str, Any], *, dtype: str) -> dict[str, str]:
    """Return the type of each argument: constants, coefficient tensors in fp32, channel lists, tensors of `dtype`, counts."""
    types = {}
    for name in fn.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in LISTS:
            types[name] = LISTS[name]
        elif "STARTS" in name:
            types[name] = "*i32"
        elif name in STATE:
            types[name] = "*fp32"
        elif name.isupper():
            types[name] = DTYPES[dtype]
        else:
            types[name] = "fp32" if name == "scale" else "i32"
    return types


def build_rows(kernel: str, target: str, *, dtype: str = "fp16") -> list[dict[str, Any]]:
    """Compile one kernel for one target at every head size; GalleyError for an unknown kernel, target or dtype."""
    known = kernels()
    for field, value, allowed in (("kernel", kernel, known), ("target", target, TARGETS), ("dtype", dtype, DTYPES)):
        if value not in allowed:
            raise GalleyError(f"{field} is {value!r}; allowed: {', '.join(allowed)}")
    fn, fixed = known[kernel]
    return [_build(fn, fixed, kernel=kernel, target=target, d_h=d_h, dtype=dtype) for d_h in HEAD_DIMS]


def _build(fn: Any, fixed: dict[str, Any], *, kernel: str, target: str, d_h: int, dtype: str) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    widths = {"D_H": d_h, "D_P2": d_h, "K_COMP": d_h, "V_COMP": d_h, "K_KEPT": d_h // 2, "V_KEPT": d_h // 2}
    constants = {k: v for k, v in {**fixed, **widths}.items() if k in fn.arg_names}
    options = {"num_warps": 8, "num_stages": 1} if "rebuild" in kernel else {"num_warps": 4, "num_stages": 2}
    index = {name: i for i, name in enumerate(fn.arg_names)}
    signature = signature_of(fn, constants, dtype=dtype)
    pointers = {(index[name],): [["tt.divisibility", 16]] for name, kind in signature.items() if kind.startswith("*")}
    source = ASTSource(fn=fn, signature=signature, constexprs={(index[k],): v for k, v in constants.items()}, attrs=pointers)
    row = {"kernel": kernel, "target": target, "d_h": d_h, "dtype": dtype, **options}
    built = triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options)
    used = resources_amd(built.asm["amdgcn"]) if target.startswith("gfx") else resources_nvidia(built.asm["ptx"], target)
    return {**row, **used, "shared_bytes": int(built.metadata.shared), "status": "ok", "reason": ""}


def resources_nvidia(ptx: str, target: str) -> dict[str, int]:
    """Return registers and spilled bytes as ptxas reports them."""
    import triton

    # The older of the two bundled assemblers does not know the PTX version that newer targets get.
    tool = Path(triton.__file__).parent / "backends/nvidia/bin" / ("ptxas" if target == "sm_80" else "ptxas-blackwell")
    arch = re.search(r"\.target (sm_\w+)", ptx)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = [str(tool), "-v", "--gpu-name", arch[1] if arch else target, str(path), "-o", str(Path(folder) / "kernel.cubin")]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise GalleyError(f"ptxas refused the kernel for {target}: {run.stderr.strip().splitlines()[-1]}")
    registers, spills = re.search(r"Used (\d+) registers", run.stderr), re.search(r"(\d+) bytes spill stores", run.stderr)
    assert registers and spills, run.stderr
    return {"registers": int(registers[1]), "spill_bytes": int(spills[1])}


def resources_amd(assembly: str) -> dict[str, int]:
    """Return vector registers and spilled bytes (four a lane and register) as the assembly lists them."""
    registers, spills = re.search(r"\.vgpr_count:\s*(\d+)", assembly), re.search(r"\.vgpr_spill_count:\s*(\d+)", assembly)
    assert registers and spills
    return {"registers": int(registers[1]), "spill_bytes": 4 * int(spills[1])}


def write_rows(kernel: str, target: str, out: Path, *, dtype: str = "fp16") -> pd.DataFrame:
    """Write the rows of one kernel and target as csv and return them."""
    frame = pd.DataFrame(build_rows(kernel, target, dtype=dtype)).reindex(columns=COLUMNS)
    with atomic_path(out) as part:
        frame.to_csv(part, index=False)
    return frame
