"""Everything that a publication makes, with hostile text in every field that takes text: shown as text, and nothing from outside."""

import pandas as pd
import pytest
import yaml
from pages import cells_of, html_of, latex_of, markdown_of, squeezed, svg_of

from galley.core_yaml import STEERS
from galley.seen import visible
from galley.tables.publish import publish
from galley.tables.render import read_table
from galley.tables.rows import RUN_COLUMNS, write_items, write_runs

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # a letter that the figures' font lacks is a box there
ATTACKS = (
    "![i](http://evil/x.png) [l](http://evil) <http://evil> http://evil",
    "<script src=//evil>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x",
    "</td></tr></table></title></style><base href=//evil><meta http-equiv=refresh content=0>",
    "a|b `c` *d* __e__ ~~f~~ $\\frac{$ &lt; &#60; \\input{/etc/passwd} ^^5c %d #1 {[x]} & \\\\[2ex]",
    "# h\r\n- i\n> q\n\n[r]: //evil\n---\n===\n```",
    "\x1b[2J\x1b]0;t\x07 \u202egnp\u2066 z\u200bw \ufeff漢é",
    "=HYPERLINK(\"http://evil\",A1)",
    "../../../etc/passwd\x00",
)  # fmt: skip
NUMBERS = {"seed": 0, "wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mib": 1.0, "threads": 1, "tokens": 5}


def attacked(name, number=0):
    """A text of all attacks that says which field it is in, and begins with another of them each time."""
    at = (len(name) + number) % len(ATTACKS)
    return " ".join([ATTACKS[at], f"{name}{number or ''}", *ATTACKS[:at], *ATTACKS[at + 1 :]])


def written(name, number=0):
    """The same as a declaration may say it: on one line, and without control characters."""
    return " ".join(STEERS.sub("", attacked(name, number)).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two declared methods and one that is not, a curve, a heat map, a row that did not run, two claims; returns files and texts."""
    base = tmp_path_factory.mktemp("hostile")
    folder = base / "recipes/p"
    folder.mkdir(parents=True)
    t = {name: written(name) for name in ("model", "setting", "benchmark", "metric", "unit")}
    t |= {name: attacked(name) for name in ("run_id", "backend", "device", "reason")}
    methods = [written("method", 1), written("method", 2), written("method", 3), attacked("method", 4)]
    common = {"paper": "p", "scale": "smoke", "seed": 0, "weight": 1.0, **t, "status": "ok", "reason": "", "trained": False}
    rows = []
    for at, method in enumerate(methods):
        scores = [{"item_id": f"{ATTACKS[1]}/x={n},y={n % 2} {attacked('item_id')}", "score": n / 4 + at / 8} for n in range(4)]
        rows += [common | {"method": method} | score for score in scores]
    gone = {"method": methods[0], "benchmark": "gone", "item_id": "", "score": float("nan"), "status": "not_run", "reason": t["reason"]}
    write_items(pd.DataFrame([*rows, common | gone]), base / "i.parquet")
    run = {name: NUMBERS.get(name, attacked(name)) for name in RUN_COLUMNS} | {"paper": "p", "scale": "smoke", "run_id": t["run_id"]}
    write_runs(pd.DataFrame([run]), base / "r.csv")
    side = {name: t[name] for name in ("benchmark", "metric", "setting", "model")}
    here, there, broken = ({"method": method, **side} for method in methods[:3])
    claim = {
        "statement": written("statement"), "source": written("source"), "kind": "order", "evidence": "experiment",
        "lhs": here, "rhs": there, "margin": {"abs": 0.0, "reason": written("margin")}, "scales": ["smoke"],
        "controls": [{"name": written("control"), "why": written("why"), "lhs": broken}],
    }  # fmt: skip
    names = [visible(written("id", n)).replace(" ", "") for n in (1, 2)]
    unasked = claim | {"scales": ["paper"], "not_run_reason": written("unasked")}
    (folder / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim | {"id": names[0]}, unasked | {"id": names[1]}]}))
    metric = {"unit": t["unit"], "better": "lower", "what": written("what")}
    (folder.parent / "metrics.yaml").write_text(yaml.safe_dump({t["metric"]: metric}))
    axes = {name: {"column": "item_id", "pattern": f"{name}=(\\d+)", "label": written(name)} for name in ("x", "y")}
    figure = {"metric": t["metric"], "label": written("label")}
    figures = {written("curves"): {"kind": "curves", **figure, "x": axes["x"]}, written("maps"): {"kind": "heat_maps", **figure, **axes}}
    (folder / "figures.yaml").write_text(yaml.safe_dump(figures))
    paper = {"table": attacked("table"), **side, "method": methods[0], "value": 0.3125, "source": attacked("place")}
    pd.DataFrame([paper, paper | {"method": attacked("theirs")}]).to_csv(folder / "paper_values.csv", index=False)
    section = "\n".join(f"- {text}" for text in ATTACKS[:4])
    (folder / "README.md").write_text(f"# P\n\n## Deviations\n\n{section}\n\n{ATTACKS[4]}\n```\n\n## Ambiguities settled\n\n{ATTACKS[5]}\n")
    absent = [(attacked("absent"), attacked("why absent"))]
    made = base / "results"
    publish("p", items=[base / "i.parquet"], runs=[base / "r.csv"], scale="smoke", folder=folder, results=made, absent=absent)
    paths = [path for path in sorted(made.rglob("*")) if path.is_file()]
    files = {suffix: [path for path in paths if path.suffix == suffix] for suffix in {path.suffix for path in paths}}
    table = [squeezed(visible(text)) for text in (t["model"], *methods, t["setting"], f"{t['benchmark']} {t['metric']}")]
    claims = [squeezed(visible(text)) for text in (*names, written("statement"), written("unasked"))]
    away = squeezed(f"{visible(absent[0][0])}: {visible(absent[0][1])}")
    return files, table, claims, away, run


def test_every_kind_of_file_is_made_and_none_is_elsewhere(made):
    files, *_ = made
    assert {suffix: len(paths) for suffix, paths in files.items()} == {".csv": 2, ".html": 2, ".md": 2, ".tex": 1, ".svg": 2}
    assert all(path.parent.name == "p" and path.parent.parent.name == "figures" for path in files[".svg"])


def test_pages_show_every_text_and_nothing_from_outside(made):
    files, table, claims, away, _ = made
    certificate, page = (html_of(path.read_text(encoding="utf-8")) for path in files[".html"])
    assert set(table + claims) <= set(cells_of(page)) and away in cells_of(page)
    assert set(claims) <= set(cells_of(certificate)) and away in cells_of(certificate)


def test_markdown_shows_the_same_by_every_reader(made):
    files, table, claims, away, _ = made
    for path, wanted in zip(files[".md"], ([*claims, away], [*table, *claims, away]), strict=True):
        for tree in markdown_of(path.read_text(encoding="utf-8")):
            assert set(wanted) <= set(cells_of(tree))


def test_the_certificate_quotes_the_readme_as_text_and_says_with_what_runs_were_made(made):
    files, *_, run = made
    text = html_of(files[".html"][0].read_text(encoding="utf-8")).text_content()
    for line in ATTACKS[:3]:
        assert squeezed(visible(line)) in squeezed(text)
    assert squeezed(visible(f"commit {run['commit']}")) in squeezed(text) and squeezed(visible(run["cpu"])) in squeezed(text)


def test_latex_has_the_table_s_texts(made):
    files, table, *_ = made
    seen = latex_of(files[".tex"][0].read_text(encoding="utf-8"))
    flat = ["".join(ch for ch in text.replace("[U+6F22]", "") if ch.isascii() and ch != "?") for text in seen]
    for text in table:
        assert text.encode("ascii", "ignore").decode().replace("?", "") in flat, text


def test_figures_are_drawn_for_any_name(made):
    files, *_ = made
    for path in files[".svg"]:
        assert any("evil" in comment for comment in svg_of(path.read_text(encoding="utf-8")))


def test_the_csv_files_hold_the_texts_as_they_are(made):
    files, *_ = made
    claims, table = (read_table(path) for path in files[".csv"])
    assert claims["statement"].tolist() == [written("statement")] * 2 and claims["reason"][1] == written("unasked")
    assert {written("model")} == set(table["model"]) and {attacked("reason"), attacked("method", 3)} <= {*table["reason"], *table["method"]}
    assert any(
        text.startswith("=")
        for text in {*table["unit"], *table["method"], *table["setting"], *table["benchmark"], *claims["margin_reason"]}
    )
    assert table["value"].dropna().between(0, 1).all() and pd.read_csv(files[".csv"][1])["value"].dtype == float, "numbers are numbers"
