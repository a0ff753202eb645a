"""The paper's own numbers: a wrong cell is refused by file, line and column."""

from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.tables.paper_values import COLUMNS, read_paper_values

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("recipes/*/paper_values.csv"))
GOOD = "table,model,method,setting,benchmark,metric,value,source\nT1,m,a,,B,acc,44.50,Table 1\nT1,m,b,,B,acc,-1e-3,Table 1\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_papers_values_are_read_as_they_stand(path):
    values = read_paper_values(path)
    assert len(values) == len([row for row in path.read_text().splitlines() if row]) - 1 and list(values.columns) == COLUMNS
    assert values["value"].dtype == float and values["value"].notna().all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("44.50", "44.50x", r":2: value is '44.50x'; it takes a number; .*a number a row"),
        ("44.50", "", r":2: value is ''"),
        ("44.50", "nan", r":2: value is 'nan'"),
        ("44.50", "inf", r":2: value is 'inf'"),
        ("44.50", "4_4", r":2: value is '4_4'"),
        ("44.50", "\u0664", r":2: value is '\u0664'"),
        ("44.50", "44,50", r":2: paper values have 9 cells here and 8 in the head"),
        (",B,acc,-1", ",B,-1", r":3: paper values have 7 cells here and 8 in the head"),
        (",value", ",vaule", r":1: paper values lack the column 'value'; .*columns table,model"),
        ("setting,", "metric,", r":1: paper values lack the column 'setting'"),
        ("model,method,setting", "model,model,method,setting", r":1: paper values have the column 'model' twice"),
        ("T1,m,b", "T1,m,a", r":3: method is 'a'; this row's number is there twice; keep one"),
        ("T1,m,b", "T1,m,", r":3: method is ''; it takes a name"),
        ("T1,m,b", "T1, ,b", r":3: model is ' '; it takes a name"),
        ("B,acc,-1e-3,Table 1", 'B,acc,-1e-3,"Table 1', "cannot be read"),
        (GOOD, "", "paper values are empty"),
    ],
)
def test_a_broken_file_is_refused_by_line_and_column(old, new, words, tmp_path):
    assert GOOD.count(old) == 1
    path = tmp_path / "paper_values.csv"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(GalleyError, match=r"paper_values\.csv" + (words if words.startswith(":") else f".*{words}")) as refused:
        read_paper_values(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_is_needed(column, tmp_path):
    head, *rows = [row.split(",") for row in GOOD.splitlines()]
    at = head.index(column)
    path = tmp_path / "paper_values.csv"
    path.write_text("\n".join(",".join(cell for n, cell in enumerate(row) if n != at) for row in [head, *rows]))
    with pytest.raises(GalleyError, match=f":1: paper values lack the column '{column}'"):
        read_paper_values(path)


@pytest.mark.parametrize("raw", [GOOD.encode("utf-16"), bytes(range(256)) * 4, b"\x00" * 40])
def test_what_is_no_text_is_refused(raw, tmp_path):
    (tmp_path / "paper_values.csv").write_bytes(raw)
    with pytest.raises(GalleyError, match=r"paper_values\.csv"):
        read_paper_values(tmp_path / "paper_values.csv")
    with pytest.raises(GalleyError, match="no paper values at"):
        read_paper_values(tmp_path / "gone.csv")
    with pytest.raises(GalleyError, match="cannot be read"):
        read_paper_values(tmp_path)
