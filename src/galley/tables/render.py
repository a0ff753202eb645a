"""Markdown, LaTeX (booktabs) and HTML forms of a table: pure functions of its two csv files.

Rows are methods and settings, columns benchmarks, as in the paper; the paper's value stands beside ours.

Source: ours.
"""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from galley.artifact import write_text
from galley.tables.table import is_missing

MARKS = {
    "reproduced": "✓",
    "proxy_agrees": "≈",
    "contradicted": "✗",
    "proxy_disagrees": "≉",
    "inconclusive": "?",
    "not_run": "–",
}


def render_all(table_csv: Path, claims_csv: Path, out: Path) -> None:
    """Write table_*.md, .tex and .html beside the table."""
    table, claims = (
        pd.read_csv(table_csv, keep_default_na=False, na_values=[""]),
        pd.read_csv(claims_csv, keep_default_na=False),
    )
    stem = table_csv.stem
    write_text(out / f"{stem}.md", to_markdown(table, claims))
    write_text(out / f"{stem}.tex", to_latex(table))
    write_text(out / f"{stem}.html", to_html(table, claims))


def pivot(table: pd.DataFrame) -> pd.DataFrame:
    """Return the paper form: one row per model, method and setting, one column per benchmark and metric."""
    ours = table[(table["status"] == "ok") & (table["role"] == "result")].copy()
    ours = ours[~ours["setting"].fillna("").str.contains("step=")]
    ours["cell"] = [_cell(row) for row in ours.to_dict("records")]
    ours["column"] = ours["benchmark"] + " " + ours["metric"]
    ours["setting"] = ours["setting"].fillna("")
    wide = ours.pivot_table(index=["model", "method", "setting"], columns="column", values="cell", aggfunc="first", sort=False)
    return wide.sort_index().fillna("")


def _cell(row: dict) -> str:
    value = number(row["value"])
    if not is_missing(row["ci_low"]):
        value += f" [{number(row['ci_low'])}, {number(row['ci_high'])}]"
    if not is_missing(row["reported"]):
        value += f" (paper {number(row['reported'])})"
    return value


def number(value: float) -> str:
    """Return a number to three decimals, or in scientific form when that would be zero."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 5e-4 else f"{value:.1e}"


def footer(table: pd.DataFrame) -> str:
    """Return what a reader needs to weigh the numbers: scale, intervals, seeds, device."""
    ours = table[table["status"] == "ok"]
    seeds = f"{int(ours['n_seeds'].max())} seed(s)" if len(ours) else "no rows"
    ways = "; ".join(sorted(set(ours["ci_method"].dropna()) - {""}))
    return (f"Scale {table['scale'].iloc[0]}; {seeds}; device {', '.join(sorted(set(ours['device'])))}; 95 % intervals: {ways}; "
            f"{int((table['status'] == 'not_run').sum())} numbers not run.")  # fmt: skip


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a data frame as a Markdown table; pipes in cells are escaped."""

    def line(cells) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(frame.columns), "|" + "---|" * len(frame.columns), *(line(row) for row in frame.to_numpy())])


def claims_frame(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the claims as readers see them: mark, verdict, evidence, controls."""
    rows = []
    for row in claims.to_dict("records"):
        evidence = "" if is_missing(row["estimate"]) else number(float(row["estimate"]))
        if not is_missing(row["ci_low"]):
            evidence += f" [{number(float(row['ci_low']))}, {number(float(row['ci_high']))}]"
        rows.append({"": MARKS[row["verdict"]], "claim": row["claim_id"], "statement": row["statement"], "verdict": row["verdict"],
                     "estimate": evidence, "n": row["n_items"], "seeds": row["n_seeds"],
                     "controls flipped": f"{row['controls_flipped']}/{row['controls_run']}", "note": row["reason"]})  # fmt: skip
    return pd.DataFrame(rows)


def to_markdown(table: pd.DataFrame, claims: pd.DataFrame) -> str:
    """Return the Markdown form: the pivot, the claims, the footer."""
    wide = pivot(table).reset_index()
    title = f"# {table['paper'].iloc[0]} at {table['scale'].iloc[0]} scale"
    return "\n\n".join([title, markdown_table(wide), "## Claims", markdown_table(claims_frame(claims)), footer(table)]) + "\n"


def latex_escape(text: str) -> str:
    """Escape text for LaTeX."""
    table = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
             "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
             "^": r"\textasciicircum{}"}  # fmt: skip
    return "".join(table.get(ch, ch) for ch in text)


def to_latex(table: pd.DataFrame) -> str:
    """Return the booktabs form of the pivot, with the footer as a note."""
    wide = pivot(table).reset_index()
    lines = [r"\begin{tabular}{lll" + "r" * (len(wide.columns) - 3) + "}", r"\toprule"]
    lines.append(" & ".join(latex_escape(str(c)) for c in wide.columns) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(latex_escape(str(cell)) for cell in row) + r" \\" for row in wide.to_numpy()]
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\footnotesize " + latex_escape(footer(table)), ""]
    return "\n".join(lines)


def to_html(table: pd.DataFrame, claims: pd.DataFrame) -> str:
    """Return a self-contained page; every cell is escaped."""
    parts = [
        _html_table(pivot(table).reset_index()),
        "<h2>Claims</h2>",
        _html_table(claims_frame(claims)),
        f"<p>{html.escape(footer(table))}</p>",
    ]
    return page(f"{table['paper'].iloc[0]} at {table['scale'].iloc[0]} scale", "\n".join(parts))


def _html_table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in frame.columns)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in frame.to_numpy())
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def page(title: str, body: str) -> str:
    """Return an HTML page with the house style."""
    style = (
        "body{font:15px/1.5 Georgia,serif;margin:2em auto;max-width:80em;padding:0 1em}"
        "table{border-collapse:collapse;font-size:13px}"
        "th,td{padding:3px 8px;text-align:left;border-bottom:1px solid #ddd}thead th{border-bottom:2px solid #333}"
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n'
