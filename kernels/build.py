"""Ahead-of-time builds of the Triton kernels, without a GPU: what the compiler says of registers, spills and shared memory.

Source: ours. Registers and spills are ptxas's own report on the PTX (NVIDIA) or the counts in the assembly (AMD). FLOPs and bytes
are counted from the shapes of a step, and roofline times come from data sheets: models, not measurements.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import GalleyError, atomic_path

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
HEAD_DIMS = (64, 128)
DTYPES = {"fp16": "*fp16", "bf16": "*bf16", "fp32": "*fp32"}
FP32 = {"STATE", "WEIGHT", "GAIN", "OFFSET", "Z", "SHIFT", "TILE", "SPECTRAL", "P", "MAX", "SUM", "PART", "TOP", "TOTAL", "Y",
        "K_STATE", "V_STATE", "K_WEIGHT", "V_WEIGHT", "K_GAIN", "K_OFFSET", "V_GAIN", "V_OFFSET", "SPECTRAL_PART"}  # fmt: skip
LISTS = {"CHANNELS": "*i64", "K_REST": "*i64", "V_REST": "*i64", "K_CHANNELS": "*i64", "V_CHANNELS": "*i64", "SLOT": "*i32",
         "LENGTHS": "*i32"}  # fmt: skip
COLUMNS = ["kernel", "target", "d_h", "dtype", "registers", "spill_bytes", "shared_bytes", "num_warps", "num_stages", "status", "reason"]


@dataclass(frozen=True)
class Kernel:
    """A kernel, its constants in a Llama-like launch (8 KV heads, groups of 4) by head size, and integers that are multiples of 16."""

    fn: Any
    constants: Callable[[int], dict[str, Any]]
    options: dict[str, int]
    aligned: tuple[str, ...] = ()


def kernels() -> dict[str, Kernel]:
    """Return every kernel by its name."""
    return {**_flash_fourier(), **_mla_decode()}


def _flash_fourier() -> dict[str, Kernel]:
    from galley.kernels.flash_fourier import triton_kernels as ours
    from galley.kernels.flash_fourier import triton_rebuild as theirs
    from galley.kernels.flash_fourier.triton import Blocks

    blocks = Blocks()
    heads = {"N_KV": 8, "GROUP": 4, "ROWS": 4}
    tile = {"BT": blocks.tokens, "BK": blocks.orders, "BC": blocks.channels}
    fixed = {
        "project_query": (ours.project_query, {**heads, "BN": 32, "BC": blocks.channels}),
        "scores": (ours.scores, {**heads, **tile, "FFT": False}),
        "project_weights": (ours.project_weights, {**heads, **tile, "BS": blocks.chunk, "BM": 32, "FFT": False}),
        "merge": (ours.merge, {**heads, "BD": 32, "BM": 32, "NATURAL": False}),
        "rebuild_scores": (theirs.rebuild_scores, {**heads, "BLOCK": theirs.BLOCK, "BT": theirs.TILE, "BK": theirs.ORDERS}),
    }

    def constants(d_h: int, *, fn: Any, known: dict[str, Any]) -> dict[str, Any]:
        widths = {"D_H": d_h, "D_P2": d_h, "K_COMP": d_h, "V_COMP": d_h, "K_KEPT": d_h // 2, "V_KEPT": d_h // 2}
        return {k: v for k, v in {**known, **widths}.items() if k in fn.arg_names}

    usual, wide = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}, {"num_warps": 8, "num_stages": 1}
    return {
        f"flash_fourier.{name}": Kernel(fn, partial(constants, fn=fn, known=known), wide if name == "rebuild_scores" else usual)
        for name, (fn, known) in fixed.items()
    }


def _mla_decode() -> dict[str, Kernel]:
    """Latents of 8 heads times a quarter of the head, and a quarter of the head rotated."""
    from galley.kernels.mla_decode import triton_kernels as mla
    from galley.kernels.mla_decode.triton import ROWS, Blocks, power_of_two

    blocks = Blocks()
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}

    def attend(d_h: int) -> dict[str, Any]:
        rope, rank = d_h // 4, 8 * d_h // 4
        return {"GROUP": 4, "ROPE": rope, "ROPE_P2": power_of_two(rope), "BH": ROWS, "BT": blocks.tokens, "BR": blocks.chunk,
                "BV": min(blocks.columns, rank), "RAGGED": False, "UPCAST": False}  # fmt: skip

    aligned = ("r_k", "r_v", "k_b", "k_h", "k_t", "c_b", "c_t", "value_at", "split")
    return {
        "mla_decode.attend": Kernel(mla.attend, attend, options, aligned),
        "mla_decode.merge": Kernel(mla.merge, lambda d_h: {"BV": min(128, 8 * d_h // 4), "BM": blocks.runs}, options, ("r_v",)),
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
        elif name in FP32:
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
    return [_build(known[kernel], kernel=kernel, target=target, d_h=d_h, dtype=dtype) for d_h in HEAD_DIMS]


def _build(of: Kernel, *, kernel: str, target: str, d_h: int, dtype: str) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fn, constants, options = of.fn, of.constants(d_h), of.options
    index = {name: i for i, name in enumerate(fn.arg_names)}
    signature = signature_of(fn, constants, dtype=dtype)
    multiples = [name for name, kind in signature.items() if kind.startswith("*") or name in of.aligned]
    known = {(index[name],): [["tt.divisibility", 16]] for name in multiples}
    source = ASTSource(fn=fn, signature=signature, constexprs={(index[k],): v for k, v in constants.items()}, attrs=known)
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
