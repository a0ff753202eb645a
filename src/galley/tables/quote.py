"""A section of a recipe's README in the certificate: its paragraphs, lists and code, everything else as the text that it is.

Source: ours. The README of somebody else's recipe is foreign text: its links, images, tags and headings are shown, not made.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from galley.seen import all_seen
from galley.tables.escape import code_span, markdown_text


def reader() -> MarkdownIt:
    """Return the reader of Markdown, for quotes and pages: tables, no tags, no links and no images, whatever the text says."""
    off = ["link", "image", "autolink", "reference", "html_inline", "html_block"]
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(off)


def section(readme: str, title: str) -> str:
    """Return a second-level section of a README as Markdown that marks up no more than paragraphs, lists and code."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    return quoted(found.group(1)) if found else f"(the recipe's README has no section {title!r})"


def quoted(text: str) -> str:
    """Return Markdown written anew."""
    return _blocks(SyntaxTreeNode(reader().disable("table").parse(text)))


def _block(node: SyntaxTreeNode) -> str:
    if node.type in ("bullet_list", "ordered_list"):
        first = int(node.attrs.get("start", 1))
        marks = [f"{first + at}. " if node.type == "ordered_list" else "- " for at in range(len(node.children))]
        return "\n".join(_hung(mark, _blocks(item)) for mark, item in zip(marks, node.children, strict=True))
    if node.type in ("fence", "code_block"):
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", node.content)), default=0))
        return "\n".join([fence, *(all_seen(line.expandtabs(4)) for line in node.content.rstrip("\n").split("\n")), fence])
    if node.type == "inline":
        return _inline(node)
    return _blocks(node)  # a paragraph; a heading or a quotation, of which the text is left


def _blocks(node: SyntaxTreeNode) -> str:
    tight = all(child.type != "paragraph" or child.hidden for child in node.children)
    said = [text for child in node.children if (text := _block(child))]
    return ("\n" if tight and node.type == "list_item" else "\n\n").join(said)


def _hung(mark: str, text: str) -> str:
    return mark + re.sub(r"\n(?!\n)", "\n" + " " * len(mark), text)


def _inline(node: SyntaxTreeNode) -> str:
    """Return a paragraph's text on one line, its code as code; emphasis is dropped."""
    parts: list[tuple[str, str]] = []
    for leaf in _leaves(node):
        kind, text = ("code", leaf.content) if leaf.type == "code_inline" else ("text", " " if "break" in leaf.type else leaf.content)
        if kind == "text" and parts and parts[-1][0] == "text":
            text = parts.pop()[1] + text
        parts.append((kind, text))
    return "".join(code_span(text) if kind == "code" else _spaced(text) for kind, text in parts).strip()


def _spaced(text: str) -> str:
    """Return a piece of a line as Markdown, with the spaces at its ends."""
    said = markdown_text(text)
    return f"{' ' * text[:1].isspace()}{said}{' ' * (bool(said) and text[-1:].isspace())}"


def _leaves(node: SyntaxTreeNode) -> list[SyntaxTreeNode]:
    return [leaf for child in node.children for leaf in _leaves(child)] if node.children else [node]
