import re
from html.parser import HTMLParser

import pandas as pd
from pages import cells_of, html_of, latex_of, markdown_of

from galley.tables.numbers import number
from galley.tables.render import footer, markdown_table, page, pivot, read_table, render_all, seeds, to_html, to_latex, to_markdown


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def body(latex):
    inside = latex.split(r"\begin{tabular}")[1].split(r"\end{tabular}")[0]
    return [line for line in inside.splitlines() if line.endswith(r"\\")]


class Strict(HTMLParser):
    """Every tag that opens must close, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_paper_s_value_stands_in_the_same_cell(table, judged):
    for text in (to_markdown(table, judged), to_html(table, judged), to_latex(table)):
        assert re.search(r"0\.75 \{?\[\}?0\.\d{3}, 0\.\d{3}\{?\]\}? \(paper 0\.68\)", text)


def test_the_pivot_has_one_row_a_method_and_one_column_a_benchmark(table):
    wide = pivot(table)
    assert list(wide.index.names) == ["model", "method", "setting"]
    assert "heldout bits_per_byte" in wide.columns and "commonsense_arc acc" not in wide.columns
    assert not wide.reset_index()["setting"].str.contains("step=").any()  # curves are figures


def test_markdown_is_a_rectangle_whatever_is_in_the_cells(table, judged):
    text = to_markdown(table, judged)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(cells(line)) for line in block.splitlines()}) == 1
    assert r"a&amp;b_50%\|x" in text
    assert r"&lt;loses&gt; less \| than" in text


def test_markdown_cells_do_not_break_lines():
    assert markdown_table(pd.DataFrame({"a|b": ["one\ntwo"]})).splitlines() == ["| a\\|b |", "|---|", "| one two |"]


def test_latex_is_balanced_escaped_and_rectangular(table):
    text = to_latex(table)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    plain = re.sub(r"\\[{}]", "", text)
    depth = 0
    for ch in plain:
        depth += {"{": 1, "}": -1}.get(ch, 0)
        assert depth >= 0
    assert depth == 0
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])
    for line in body(text):
        assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
    assert r"a\&b\_50\%" in text
    # nothing of what TeX reads as a command is left bare
    assert not re.search(r"(?<!\\)[%#$_]", text)


def test_html_is_well_formed_and_escaped(table, judged):
    page = to_html(table, judged)
    parser = Strict()
    parser.feed(page.replace("<!doctype html>", ""))
    assert parser.open == []
    assert "<loses>" not in page and "&lt;loses&gt;" in page and "a&amp;b_50%|x" in page
    assert "//" not in page  # self-contained


def test_every_form_is_the_same_bytes_twice_and_carries_no_number_of_its_own(table, judged, tmp_path):
    made = []
    for turn in ("a", "b"):
        folder = tmp_path / turn
        folder.mkdir()
        table.to_csv(folder / "table_p.csv", index=False, float_format="%.6g")
        judged.to_csv(folder / "claims_p.csv", index=False, float_format="%.6g")
        render_all(folder / "table_p.csv", folder / "claims_p.csv", folder)
        made.append({path.suffix: path.read_bytes() for path in folder.iterdir() if path.name != "claims_p.csv"})
    assert made[0] == made[1] and set(made[0]) == {".csv", ".md", ".tex", ".html"}
    source = made[0][".csv"].decode()
    known = {number(float(n)) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", source)}
    shown = re.findall(r"(?<![\w.])-?\d+\.\d+", made[0][".md"].decode().split("## Experiments")[0])
    assert shown and set(shown) <= known


def test_a_number_reads_the_same_in_every_form(table, judged):
    wide = pivot(table)
    for column in wide.columns:
        for cell in filter(None, wide[column]):
            assert cell in cells_of(html_of(to_html(table, judged)))
            assert all(cell in cells_of(tree) for tree in markdown_of(to_markdown(table, judged)))
            assert cell in latex_of(to_latex(table))


def test_texts_that_look_like_numbers_or_nothing_are_read_as_they_are(table, tmp_path):
    odd = table.assign(setting="007", model="NA", method="1e5", device="nan").assign(reason=["", *["None"] * (len(table) - 1)])
    odd.to_csv(tmp_path / "t.csv", index=False)
    read = read_table(tmp_path / "t.csv")
    for name in ("setting", "model", "method", "device", "reason"):
        assert read[name].tolist() == odd[name].tolist()
    assert read["value"].dtype == float and read["value"].isna().tolist() == odd["value"].isna().tolist()
    assert ("NA", "1e5", "007") in pivot(read).index


def test_a_row_without_a_setting_is_not_lost(table):
    bare = table.assign(setting=float("nan"))
    assert len(pivot(bare)) == 3 and (pivot(bare).reset_index()["setting"] == "").all()


def test_sources_out_of_reach_are_a_section_of_every_form(table, judged):
    absent = [("shakespeare", "no <origin> | answers"), ("a_b", "![i](http://evil)")]
    lines = ["shakespeare: no <origin> | answers", "a_b: ![i](http://evil)"]
    for tree in (html_of(to_html(table, judged, absent)), *markdown_of(to_markdown(table, judged, absent))):
        assert "Sources out of reach" in [e.text for e in tree.iter("h2")] and [e.text_content() for e in tree.iter("li")] == lines
    note = latex_of(to_latex(table, absent))[-1]
    assert note == "Sources out of reach: shakespeare (no <origin> | answers); a_b (![i](http://evil))."
    for text in (to_html(table, judged), to_markdown(table, judged), to_latex(table)):
        assert "out of reach" not in text.replace("data: out of reach", "")


def test_a_page_s_policy_lets_its_own_style_in_and_nothing_else():
    import base64
    import hashlib

    tree = html_of(page("t", "<p>x</p>"))
    (policy,) = (e.get("content") for e in tree.iter("meta") if e.get("http-equiv"))
    (style,) = (e.text for e in tree.iter("style"))
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{known}'; base-uri 'none'; form-action 'none'"


def test_a_table_in_which_nothing_ran_still_renders(table, judged):
    nothing = table[table["status"] == "not_run"]
    assert "not run" in to_markdown(nothing, judged)
    assert r"\end{tabular}" in to_latex(nothing)


def test_seeds_are_counted_by_method_and_the_most_is_not_said_of_all(table):
    assert "; 1 seed;" in footer(table)
    more = table.assign(n_seeds=table["n_seeds"].where(table["method"] != "a&b_50%|x", 3.0))
    assert "; 1 or 3 seeds;" in footer(more) and [count for count, _ in seeds(more)] == [1, 3]
    assert dict(seeds(more))[3] == ["a&b_50%|x"] and "original" in dict(seeds(more))[1]
    assert "; no rows;" in footer(table[table["status"] == "not_run"])
