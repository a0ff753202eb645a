"""What every page that is made must be: no address outside it, no script, no mark-up but ours. Parsed by real readers of each form."""

import importlib.util
import re
from xml.etree import ElementTree

import lxml.html
from markdown_it import MarkdownIt

TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li",
        "code", "pre"}  # fmt: skip
ATTRIBUTES = {("html", "lang"), ("meta", "charset"), ("meta", "http-equiv"), ("meta", "content"), ("ol", "start")}
# Control words and symbols that a table's LaTeX may have, and what a reader sees of them.
SEEN = {r"\textbackslash": "\\", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{", r"\}": "}",
        r"\textasciitilde": "~", r"\textasciicircum": "^", r"\textless": "<", r"\textgreater": ">", r"\textbar": "|",
        r"\textasciigrave": "`", r"\textquotedblright": '"'}  # fmt: skip
SHAPE = {r"\begin", r"\end", r"\toprule", r"\midrule", r"\bottomrule", r"\par", r"\footnotesize", r"\\"}
MATHS = re.compile(r"\$(?:-|\^[23]|\\(?:times|cdot|pm|le|ge|ne|approx|to|infty|mu|alpha|beta|pi|Delta|Sigma)|\^\\circ)\$")
ACCENTED = re.compile(
    r"""\\[`'^~="ru.vHc]\{[A-Za-z]\}|\\(?:ss|o|O|ae|AE|oe|OE|l|L|i|S|ldots|textendash|textemdash|textquoteleft|textquoteright|textquotedblleft)\{\}"""
)


def squeezed(text):
    return " ".join(text.split())


def html_of(page):
    """Check a page or a piece of one; return its tree."""
    tree = lxml.html.document_fromstring(page) if "<html" in page else lxml.html.fragment_fromstring(page, create_parent="body")
    for element in tree.iter():
        assert isinstance(element.tag, str), f"a comment or an instruction: {element}"
        assert element.tag in TAGS, f"<{element.tag}>"
        for name, value in element.attrib.items():
            assert (element.tag, name) in ATTRIBUTES, f"{name}={value!r} in <{element.tag}>"
        if element.get("http-equiv"):
            assert element.get("http-equiv") == "Content-Security-Policy" and element.get("content").startswith("default-src 'none'")
        if element.tag == "style":
            assert not re.search(r"url|@import|expression|\\", element.text)
    return tree


def cells_of(tree):
    """Return the texts of cells, headings, items and paragraphs."""
    return [squeezed(element.text_content()) for element in tree.iter("td", "th", "li", "p", "h1", "title")]


def markdown_readers():
    """Return readers that obey tags and links: of the package the project uses, with bare links where that is installed, and others."""
    readers = [MarkdownIt("commonmark", {"html": True}).enable("table").render]
    if importlib.util.find_spec("linkify_it"):
        readers.append(MarkdownIt("gfm-like", {"html": True}).render)
    if importlib.util.find_spec("cmarkgfm"):
        import cmarkgfm

        readers.append(lambda text: cmarkgfm.github_flavored_markdown_to_html(text, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE))
    return readers


def markdown_of(text):
    """Check a Markdown file by every reader; return the trees."""
    return [html_of(reader(text)) for reader in markdown_readers()]


def latex_of(text):
    """Check a table's LaTeX by its tokens; return what a reader sees, of each cell and note."""
    assert text.isascii()
    seen, at = [""], 0
    while at < len(text):
        rest = text[at:]
        if found := MATHS.match(rest) or ACCENTED.match(rest):
            seen[-1] += "?"
        elif found := re.match(r"\\(?:begin|end)\{tabular\}(?:\{[lr]+\})?", rest) or re.match(r"\\([a-z]+|\\)", rest):
            word = re.match(r"\\([a-z]+|.)", found[0])[0]
            assert word in SHAPE or word in SEEN, word
            if word in SHAPE:
                seen.append("")
                assert not re.match(r"\s*[\[*]", rest[found.end() :]), "taken for an argument of the line above"
            else:
                seen[-1] += SEEN[word]
                assert rest[found.end() :].startswith("{}"), f"{word} would take the space or the letters after it"
        elif found := re.match(r"\\.", rest, re.DOTALL):
            assert found[0] in SEEN, found[0]
            seen[-1] += SEEN[found[0]]
        elif rest[0] == "&":
            found = re.match("&", rest)
            seen.append("")
        else:
            found = re.match(r"\{[\[\]*]?\}|[^\\{}$&#^_%~]", rest, re.DOTALL)
            assert found, f"a bare {rest[:20]!r}"
            seen[-1] += found[0].strip("{}") if found[0].startswith("{") else found[0]
        at += found.end()
    return [squeezed(one) for one in seen]


def svg_of(text):
    """Check a figure; return its comments, in which its texts stand."""
    assert "<!DOCTYPE" not in text
    tree = ElementTree.fromstring(text)
    for element in tree.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {"svg", "defs", "style", "g", "path", "use", "clipPath", "rect", "image", "pattern"}, tag
        for name, value in element.attrib.items():
            name = name.rpartition("}")[2]
            assert not name.startswith("on"), name
            if name == "href":
                assert value.startswith(("#", "data:image/png;base64,")), value
            assert all(there.startswith("#") for there in re.findall(r"url\(['\"]?([^)]*)", value)), value
        assert tag != "style" or not re.search(r"url|@import", element.text)
    return re.findall(r"<!-- (.*?) -->", text, re.DOTALL)
