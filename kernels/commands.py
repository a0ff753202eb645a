"""The kernels on the command line: ahead-of-time builds and their table; no logic here.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def build_kernel(
    kernel: Annotated[str, typer.Argument(help="such as flash_fourier.scores")],
    target: Annotated[str, typer.Option(help="sm_80, sm_90 or gfx942")],
    out: Annotated[Path, typer.Option()],
    dtype: Annotated[str, typer.Option(help="fp16, bf16 or fp32")] = "fp16",
) -> None:
    """Compile a Triton kernel for a GPU that need not be there: registers, spills, shared memory."""
    from galley.kernels.build import write_rows

    write_rows(kernel, target, out, dtype=dtype)


@app.command()
def kernels_table(builds: list[Path], out: Annotated[Path, typer.Option()] = Path("results/table_kernels.csv")) -> None:
    """Join builds with roofline models from data sheets."""
    from galley.kernels.roofline import write_table

    write_table(builds, out)
