"""What a run leaves: passed, failed, error and polished programs as JSON lines, and training pairs of prefix and body.

arXiv:2502.11460, figure 2: prefix = imports, signature and docstring; completion = the body. The released code writes passed, failed and
polished; `error.jsonl` is ours, so that nothing is lost without a row.

Source: as above.
"""

from __future__ import annotations

import ast
from pathlib import Path

from galley.papers.unitcoder.pipeline import Row, kept_code, provenance
from galley.synthesize.stream import split_rows


def prefix_and_body(code: str, entry_point: str) -> tuple[str, str] | None:
    """Return a program cut after the entry point's signature and docstring; None where nothing is left on either side.

    prefix + body is the program up to the end of the entry point; text after it is left out.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    node = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry_point), None)
    if node is None:
        return None
    rest = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    lines = code.splitlines(keepends=True)
    if not rest or rest[0].lineno == node.lineno:
        return None
    cut = rest[0].lineno - 1
    while cut > node.lineno and not lines[cut - 1].split("#")[0].strip():
        cut -= 1  # comments and blank lines before the body belong to it
    body = "".join(lines[cut : node.end_lineno])
    return "".join(lines[:cut]), body if body.endswith("\n") else body + "\n"


def pair(row: Row) -> Row | None:
    """Return a passed row's training pair, None where its program cannot be cut."""
    if row["status"] != "passed":
        return None
    cut = prefix_and_body(kept_code(row), row["entry_point"])
    return cut and {"id": row["id"], "prompt": cut[0], "answer": cut[1], "provenance": provenance(row), "writer": row["writer"]}


def write_files(rows: Path, out: Path) -> dict[str, int]:
    """Write passed, failed, error, polished and sft .jsonl beside each other from one pass; return the rows of each."""
    by_status = {s: (lambda row, s=s: row if row["status"] == s else None) for s in ("passed", "failed", "error")}
    parts = {**by_status, "polished": lambda row: row if row["refined"] else None, "sft": pair}
    counts = split_rows(rows, {out / f"{name}.jsonl": take for name, take in parts.items()})
    return {path.stem: n for path, n in counts.items()}
