"""The paper's own numbers, digit for digit, with their place: recipes/<name>/paper_values.csv.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from galley.tables.sheets import number_column, read_sheet, refuse

COLUMNS = ["table", "model", "method", "setting", "benchmark", "metric", "value", "source"]
WAY_OUT = f"recipes/<name>/paper_values.csv has the columns {','.join(COLUMNS)} and a number a row"


def read_paper_values(path: Path) -> pd.DataFrame:
    """Read and check them, `value` as a number and the rest as text; a GalleyError names file, line and column."""
    sheet = read_sheet(path, COLUMNS, what="paper values", way_out=WAY_OUT)
    for column in COLUMNS:
        if column not in ("setting", "value"):
            refuse(sheet, sheet[column].str.strip() == "", column, "it takes a name", path=path, way_out=WAY_OUT)
    twice = sheet.duplicated([column for column in COLUMNS if column not in ("value", "source")])
    refuse(sheet, twice, "method", "this row's number is there twice", path=path, way_out="keep one of them")
    return sheet.assign(value=number_column(sheet, "value", path=path, way_out=WAY_OUT).astype("float64")).reset_index(drop=True)
