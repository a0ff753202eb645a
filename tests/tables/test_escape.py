"""Text is shown as text: what a reader of HTML, Markdown or LaTeX sees of it is what it says, whatever it says."""

import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import cells_of, html_of, latex_of, markdown_of, squeezed

from galley.seen import visible
from galley.tables.escape import code_span, html_text, latex_text, markdown_text

HOSTILE = [
    "![i](http://evil/x.png)", "<http://evil>", "[a](javascript:alert(1))", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "[r]: http://evil/", "[r]", "[r][]", "[^1]: note", "# head", "- item", "+ item", "* item", "1. one", "1) one", "99999999999. x",
    "> quote", "---", "- - -", "===", "```", "~~~", "&lt;b&gt; &amp; &#60; &nbsp; &copy", "`code` ``a`", "a|b||c", "|", ":-- | --:",
    "*em* **b** __c__ _d_ a_b __init__", "~~del~~", "$x^2$ $$y$$", "\\", "\\\\|", "x\\", "http://evil.org/x www.evil.org ftp://e.org",
    "HTTPS://E.ORG WWW.a.b", "-0.5", ": def", "{{ 7*7 }} {: .x} {#id}", "<!-- c -->", "<![CDATA[x]]>", "<?php ?>", "-->", "_a", "a_",
    "[x] todo", "- [ ] t", "!", "![", "](x)", '"onload=x', "' x", "=1+1", "@SUM(A1)", "</td></table><h1>x", "</style><style>*{x:url(//e)}",
    "</title><base href=//evil>", "\\input{/etc/passwd}", "\\write18{rm}", "^^5cinput", "50% & #1 ~", "[2ex]", "*", "\\end{tabular}",
    "--flag ,, ''x'' ``y`` ?` !`",
]  # fmt: skip
UNSEEN = {"a\u202eb": "a[U+202E]b", "a\u200bb": "a[U+200B]b", "\x1b[2J": "[U+001B][2J", "a\x00": "a[U+0000]", "\u2066x": "[U+2066]x",
          "x\ufe0f": "x[U+FE0F]", "\U000e0041": "[U+E0041]", "\ud800": "[U+D800]", "a\u2028b": "a[U+2028]b", "soft\u00adhyphen":
          "soft[U+00AD]hyphen", "\u3164": "[U+3164]", "\ufeffx": "[U+FEFF]x", "a\r\n# b\tc": "a # b c", " a\u00a0 b ": "a b"}  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), UNSEEN.items(), ids=ascii)
def test_what_cannot_be_seen_is_named(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_one_in_every_form(text):
    check(text)


@given(st.text(max_size=40))
def test_any_text_does(text):
    check(text)


@given(st.text(alphabet=st.sampled_from("\\`*_[]{}()<>#+-.!|~$&:/@=^%\"' \n\tawhttp1;www"), max_size=30))
def test_any_text_of_marks_does(text):
    check(text)


def check(text):
    want = squeezed(visible(text))
    (cell,) = cells_of(html_of(f"<p>{html_text(text)}</p>"))
    assert cell == want
    escaped = markdown_text(text)
    for tree in markdown_of(f"x\n\n| a | b |\n|---|---|\n| {escaped} | z |\n\n- {escaped}: 3\n\nbefore\n{escaped} after\n"):
        assert cells_of(tree) == ["x", "a", "b", want, "z", f"{want}: 3".strip(), f"before {want} after" if want else "before after"]
    seen = latex_of(f"a & b \\\\\n{latex_text(text)} & c")  # the row before takes [ and * for its own
    assert len(seen) == 4
    if want.isascii():
        assert seen == ["a", "b", want, "c"]


@given(st.text(alphabet=st.sampled_from("`ab \\<&[*"), max_size=12))
def test_code_is_code(text):
    (cell,) = {squeezed(tree.text_content()) for tree in markdown_of(f"a {code_span(text)} z\n")}
    assert cell == squeezed(f"a {visible(text)} z")


def test_latex_has_letters_for_what_its_fonts_have_and_names_the_rest():
    assert latex_text("é Ñ č ß × ≤ α – 漢") == r"\'{e} \~{N} \v{c} \ss{} $\times$ $\le$ $\alpha$ \textendash{} {[}U+6F22{]}"
    assert latex_text(unicodedata.normalize("NFD", "é")) == r"\'{e}"
    assert latex_text("a--b ``q''") == r"a-{}-b \textasciigrave{}\textasciigrave{}q'{}'"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX on this machine; the tokens are checked above")
def test_tex_itself_takes_every_text(tmp_path):
    rows = "\n".join(
        f"{latex_text(text)} & {latex_text(text)} \\\\" for text in [*HOSTILE, *(t for t in UNSEEN if t != "\ud800"), "é 漢 α"]
    )
    (tmp_path / "t.tex").write_text(
        f"\\documentclass{{article}}\n\\begin{{document}}\n\\begin{{tabular}}{{ll}}\n{rows}\n\\end{{tabular}}\n\\end{{document}}\n"
    )
    run = subprocess.run(
        ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-2000:]
