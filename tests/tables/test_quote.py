from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pages import html_of, markdown_of, squeezed

from galley.tables.certificate import SECTIONS
from galley.tables.quote import quoted, reader, section

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/recipe.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_own_sections_read_as_they_were_written(recipe):
    readme = (ROOT / f"recipes/{recipe}/README.md").read_text(encoding="utf-8")
    for title in SECTIONS:
        written = readme.split(f"## {title}\n")[1].split("\n## ")[0]
        assert squeezed(reader().render(section(readme, title))) == squeezed(MarkdownIt("commonmark").render(written))


def test_a_readme_without_a_section_is_said():
    assert "no section 'Deviations'" in section("# P\n", "Deviations")


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("![i](http://evil/x.png)", "![i](http://evil/x.png)"),
        ("<http://evil> <b>b</b>", "<http://evil> <b>b</b>"),
        ("<script>\nalert(1)\n</script>", "<script> alert(1) </script>"),
        ("[a]\n\n[a]: http://evil", "[a] [a]: http://evil"),
        ("# Verdict\n\nall\n===", "Verdict all"),
        ("> said\n> - one\n>   - two", "said one two"),
        ("a `<b>` and ``a`b``", "a <b> and a`b"),
        ("1. one\n2. two\n\n       code <x>\n\n```py\nx  =  '```'\n```\n", "one two code <x> x = '```'"),
        ("a **b** _c_ &lt;d&gt;", "a b c <d>"),
        ("a | b\n--|--\n1 | 2", "a | b --|-- 1 | 2"),
        ("a\u202eb `c\u202ed`", "a[U+202E]b c[U+202E]d"),
    ],
)
def test_what_is_no_list_and_no_code_is_text(written, left):
    for tree in markdown_of(quoted(written)):
        assert squeezed(" ".join(tree.itertext())) == left


@given(st.text(alphabet=st.sampled_from("a1`*_[]()<>#+-.!|~&:/= \n"), max_size=60))
def test_a_quote_makes_no_mark_up_of_its_own_and_quotes_alike(written):
    first = quoted(written)
    trees = markdown_of(first)
    assert squeezed(trees[0].text_content()) == squeezed(html_of(reader().render(first)).text_content())
    assert squeezed(reader().render(quoted(first))) == squeezed(reader().render(first))
