"""Markdown, LaTeX (booktabs) and HTML forms of a table: pure functions of its two csv files.

Rows are methods and settings, columns benchmarks, as in the paper; the paper's value stands beside ours. Texts are foreign
(`escape`), numbers are ours (`numbers`).

Source: ours.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from galley.artifact import write_text
from galley.tables.claims import AGREES
from galley.tables.escape import html_text, latex_text, markdown_text
from galley.tables.numbers import number
from galley.tables.sheets import read_sheet
from galley.tables.table import is_missing

MARKS = {
    "reproduced": "✓",
    "confirmed": "✓",
    "holds": "=",
    "proxy_agrees": "≈",
    "contradicted": "✗",
    "refuted": "✗",
    "broken": "✗",
    "below_margin": "<",
    "proxy_reverse": "≉",
    "proxy_disagrees": "≉",
    "proxy_below_margin": "<",
    "inconclusive": "?",
    "not_run": "–",
}
FIGURES = [
    "value", "ci_low", "ci_high", "level", "n_items", "n_seeds", "runs_lhs", "runs_rhs", "reported", "estimate", "n_needed", "margin",
    "p", "p_holm", "controls_run", "controls_flipped",
]  # fmt: skip
NAMES = ["model", "method", "setting"]
OURS = ("", "estimate", "n", "runs", "margin", "p (Holm)", "flips")  # the columns of claims that hold marks and numbers alone
ABOUT_THE_PAPER = ("experiment", "artefact", "printed")  # kinds of evidence, what was run first; self-checks come after all of them
Absent = Sequence[tuple[str, str]]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table's or its claims' csv: numbers where the schema has them, and texts as they are, whatever they look like."""
    frame = read_sheet(path, ["scale"], what="a table's rows", way_out="run the same command again").reset_index(drop=True)
    return frame.assign(**{name: pd.to_numeric(frame[name].replace("", None)) for name in FIGURES if name in frame})


def render_all(table_csv: Path, claims_csv: Path, out: Path, *, absent: Absent = ()) -> None:
    """Write table_*.md, .tex and .html beside the table; `absent` are the sources out of reach, each with the reason."""
    table, claims = read_table(table_csv), read_table(claims_csv)
    stem = table_csv.stem
    write_text(out / f"{stem}.md", to_markdown(table, claims, absent))
    write_text(out / f"{stem}.tex", to_latex(table, absent))
    write_text(out / f"{stem}.html", to_html(table, claims, absent))


def pivot(table: pd.DataFrame) -> pd.DataFrame:
    """Return the paper form: one row per model, method and setting, one column per benchmark and metric."""
    ours = table[(table["status"] == "ok") & (table["role"] == "result")].copy()
    ours[NAMES] = ours[NAMES].fillna("").astype(str)
    ours = ours[~ours["setting"].str.contains("step=")]
    ours["cell"] = [_cell(row) for row in ours.to_dict("records")]
    ours["column"] = ours["benchmark"].fillna("") + " " + ours["metric"]
    wide = ours.pivot_table(index=NAMES, columns="column", values="cell", aggfunc="first", sort=False)
    return wide.sort_index().fillna("")


def _cell(row: dict) -> str:
    paper = "" if is_missing(row["reported"]) else f" (paper {number(row['reported'])})"
    return _measured(row, "value") + paper


def _measured(row: dict, name: str) -> str:
    """Return a number with its interval, where it has them."""
    value = "" if is_missing(row[name]) else number(row[name])
    return value if is_missing(row["ci_low"]) else f"{value} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def footer(table: pd.DataFrame) -> str:
    """Return what a reader needs to weigh the numbers: scale, intervals, seeds, device."""
    ours = table[table["status"] == "ok"]
    counts = [str(count) for count, _ in seeds(table)]
    runs = f"{_or(counts)} run{'s' if counts != ['1'] else ''} a number" if counts else "no rows"
    ways = "; ".join(sorted(set(ours["ci_method"].dropna()) - {""}))
    return (f"Scale {table['scale'].iloc[0]}; {runs}; device {', '.join(sorted(set(ours['device'])))}; 95 % intervals: {ways}; "
            f"{int((table['status'] == 'not_run').sum())} numbers not run.")  # fmt: skip


def seeds(table: pd.DataFrame) -> list[tuple[int, list[str]]]:
    """Return the numbers of seeds that our numbers rest on, each with the methods that have numbers of so many."""
    ours = table[table["status"] == "ok"]
    return [(int(count), sorted(set(mine["method"]))) for count, mine in ours.groupby("n_seeds")]


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def markdown_table(frame: pd.DataFrame, *, ours: Collection[str] = ()) -> str:
    """Return a data frame as a Markdown table; the columns `ours` are numbers, which need no escape."""

    def line(cells) -> str:
        return "| " + " | ".join(cells) + " |"

    names = list(frame.columns)
    head = [line(markdown_text(name) for name in names), "|" + "---|" * len(names)]
    body = (
        line(str(cell) if name in ours else markdown_text(cell) for name, cell in zip(names, row, strict=True)) for row in frame.to_numpy()
    )
    return "\n".join([*head, *body])


def claims_frame(claims: pd.DataFrame) -> pd.DataFrame:
    """Return claims as readers see them: mark, verdict, estimate with its level, items, runs a side and method, margin, controls."""
    rows = []
    for row in claims.to_dict("records"):
        rows.append({"": MARKS.get(row["verdict"], ""), "claim": row["claim_id"], "statement": row["statement"], "verdict": row["verdict"],
                     "estimate": _measured(row, "estimate") + _level(row), "n": row["n_items"], "runs": _runs(row),
                     "interval": row["ci_method"], "margin": number(row["margin"]), "p (Holm)": _p(row),
                     "flips": f"{row['controls_flipped']}/{row['controls_run']}", "note": row["reason"]})  # fmt: skip
    return pd.DataFrame(rows)


def _level(row: dict) -> str:
    return "" if is_missing(row["level"]) else f" ({row['level'] * 100:.3g} %)"


def _runs(row: dict) -> str:
    return f"{row['runs_lhs']:g}" + (f", {row['runs_rhs']:g}" if row["runs_rhs"] else "")


def _p(row: dict) -> str:
    return "" if is_missing(row["p"]) else f"{number(row['p'])} ({number(row['p_holm'])})"


def claim_parts(claims: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the claims by kind of evidence, under a title each: about the paper first, findings against it, self-checks at the end."""
    about = claims["evidence"].isin(ABOUT_THE_PAPER) & (claims["stance"] == "paper")
    order = claims["evidence"].map({name: place for place, name in enumerate(ABOUT_THE_PAPER)})
    parts = [
        (name, claims[about & (order == place)])
        for place, name in enumerate(("Experiments", "Artefacts of the authors", "Printed numbers, derived again"))
    ]
    parts.append(("Findings against the paper", claims[claims["evidence"].isin(ABOUT_THE_PAPER) & (claims["stance"] == "critique")]))
    parts.append(("Self-checks: identities of this code", claims[claims["evidence"] == "self_check"]))
    return [(title, part) for title, part in parts if len(part)]


def counted(claims: pd.DataFrame) -> list[str]:
    """Return a line for each kind of evidence: how many claims, and each verdict's number."""
    return [
        f"{title}: {len(part)}, " + ", ".join(f"{n} {verdict}" for verdict, n in part["verdict"].value_counts().items())
        for title, part in claim_parts(claims)
    ]


def flips(claims: pd.DataFrame) -> str:
    """Return how many controls told something: they stand beside claims that agree, and did not agree."""
    agree = claims[claims["verdict"].isin(AGREES)]
    told = f"{int(agree['controls_flipped'].sum())} of the {int(agree['controls_run'].sum())} controls beside them flipped"
    return f"{len(agree)} claims agree; {told}. The other {len(claims) - len(agree)} have nothing that a control could flip."


def out_of_reach(absent: Absent) -> list[str]:
    """Return the section of the sources that were absent, as Markdown; nothing where all were there."""
    lines = [f"- {markdown_text(name)}: {markdown_text(why)}" for name, why in absent]
    return ["## Sources out of reach", "\n".join(lines)] if lines else []


def to_markdown(table: pd.DataFrame, claims: pd.DataFrame, absent: Absent = ()) -> str:
    """Return the Markdown form: the pivot, the claims, the footer."""
    wide = pivot(table)
    parts = [
        f"# {markdown_text(_title(table))}",
        markdown_table(wide.reset_index(), ours=set(wide.columns)),
        *(part for title, some in claim_parts(claims) for part in (f"## {title}", markdown_table(claims_frame(some), ours=OURS))),
        markdown_text(flips(claims)),
        markdown_text(footer(table)),
        *out_of_reach(absent),
    ]
    return "\n\n".join(parts) + "\n"


def to_latex(table: pd.DataFrame, absent: Absent = ()) -> str:
    """Return the booktabs form of the pivot, with the footer as a note; it needs no package but booktabs."""
    wide = pivot(table).reset_index()
    lines = [r"\begin{tabular}{lll" + "r" * (len(wide.columns) - 3) + "}", r"\toprule"]
    lines.append(" & ".join(latex_text(c) for c in wide.columns) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in wide.to_numpy()]
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\footnotesize " + latex_text(footer(table))]
    if absent:
        lines.append(r"\par Sources out of reach: " + latex_text("; ".join(f"{name} ({why})" for name, why in absent)) + ".")
    return "\n".join([*lines, ""])


def to_html(table: pd.DataFrame, claims: pd.DataFrame, absent: Absent = ()) -> str:
    """Return a self-contained page; every cell is escaped."""
    parts = [
        _html_table(pivot(table).reset_index()),
        *(_html_claims(title, some) for title, some in claim_parts(claims)),
        f"<p>{html_text(flips(claims))}</p>",
        f"<p>{html_text(footer(table))}</p>",
    ]
    if absent:
        listed = "\n".join(f"<li>{html_text(name)}: {html_text(why)}</li>" for name, why in absent)
        parts += ["<h2>Sources out of reach</h2>", f"<ul>\n{listed}\n</ul>"]
    return page(_title(table), "\n".join(parts))


def _title(table: pd.DataFrame) -> str:
    return f"{table['paper'].iloc[0]} at {table['scale'].iloc[0]} scale"


def _html_claims(title: str, claims: pd.DataFrame) -> str:
    """Return a part of the claims; self-checks are folded."""
    table = _html_table(claims_frame(claims))
    if (claims["evidence"] == "self_check").all():
        return f"<details><summary>{html_text(title)} ({len(claims)})</summary>\n{table}\n</details>"
    return f"<h2>{html_text(title)}</h2>\n{table}"


def _html_table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{html_text(c)}</th>" for c in frame.columns)
    body = "\n".join("<tr>" + "".join(f"<td>{html_text(c)}</td>" for c in row) + "</tr>" for row in frame.to_numpy())
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def page(title: str, body: str) -> str:
    """Return an HTML page with the house style; its policy lets nothing else in: no script, no image, no other style, no address."""
    style = (
        "body{font:15px/1.5 Georgia,serif;margin:2em auto;max-width:80em;padding:0 1em}"
        "table{border-collapse:collapse;font-size:13px}"
        "th,td{padding:3px 8px;text-align:left;border-bottom:1px solid #ddd}thead th{border-bottom:2px solid #333}"
    )
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{known}'; base-uri 'none'; form-action 'none'"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{html_text(title)}</title><style>{style}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{html_text(title)}</h1>\n{body}\n</body></html>\n'
