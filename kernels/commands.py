"""The kernels on the command line: ahead-of-time builds and their table; no logic here.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.artifact import sole
from galley.options import file, new_csv, one_of

TARGETS, DTYPES = ("sm_80", "sm_90", "gfx942"), ("fp16", "bf16", "fp32")
COLUMNS = ("kernel", "target", "d_h", "dtype", "registers")
BUILDS = file("a table that `galley build-kernel` wrote", inputs.csv_table(*COLUMNS))
OutOption = Annotated[Path, typer.Option(help="csv to write", callback=new_csv(*COLUMNS))]
app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example:  galley build-kernel flash_fourier.scores --target sm_90 --out scores-sm_90.csv")
@sole
def build_kernel(
    kernel: Annotated[str, typer.Argument(help="such as flash_fourier.scores")],
    target: Annotated[str, typer.Option(help="sm_80, sm_90 or gfx942", callback=one_of(*TARGETS))],
    out: OutOption,
    dtype: Annotated[str, typer.Option(help="fp16, bf16 or fp32", callback=one_of(*DTYPES))] = "fp16",
) -> None:
    """Compile a Triton kernel for a GPU that need not be there: registers, spills, shared memory."""
    from galley.kernels.build import write_rows

    write_rows(kernel, target, out, dtype=dtype)


@app.command(epilog="Example:  galley kernels-table results/kernels/*.csv --out kernels.csv")
@sole
def kernels_table(
    builds: Annotated[list[Path], typer.Argument(help="tables that build-kernel wrote", callback=BUILDS)],
    out: OutOption = Path("results/table_kernels.csv"),
) -> None:
    """Join builds with roofline models from data sheets."""
    from galley.kernels.roofline import write_table

    write_table(builds, out)
