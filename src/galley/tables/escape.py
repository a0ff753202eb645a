"""Text as text: what data, models, replies and recipes say, so that HTML, Markdown and LaTeX show it and none obeys it.

Source: ours; CommonMark 0.31 (backslash escapes, entities), GFM (bare links, pipes, math), the WHATWG's HTML, LaTeX2e's input encoding.
The csv files hold the same texts as they are, also those that a spreadsheet takes for a formula: they are data, read by programs.
"""

from __future__ import annotations

import html
import re
import unicodedata

from galley.seen import code_point, visible

_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{ch: f"\\{ch}" for ch in "\\`*_[]{}|~$"}}  # entities: every dialect knows them
_WORD_INSIDE = re.compile(r"(?<=[^\W_])_+(?=[^\W_])")  # no emphasis in CommonMark: names stay readable
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
          "`": r"\textasciigrave{}", '"': r"\textquotedblright{}", "[": "{[}", "]": "{]}", "*": "{*}",
          "–": r"\textendash{}", "—": r"\textemdash{}", "‘": r"\textquoteleft{}", "’": r"\textquoteright{}", "“": r"\textquotedblleft{}",
          "”": r"\textquotedblright{}", "…": r"\ldots{}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}",
          "œ": r"\oe{}", "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "§": r"\S{}",
          "×": r"$\times$", "·": r"$\cdot$", "±": r"$\pm$", "−": "$-$", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "≈": r"$\approx$",
          "→": r"$\to$", "∞": r"$\infty$", "µ": r"$\mu$", "°": r"$^\circ$", "²": "$^2$", "³": "$^3$"}  # fmt: skip
_LATEX |= {chr(code): rf"$\{name}$" for code, name in (
    (0x3B1, "alpha"), (0x3B2, "beta"), (0x3B3, "gamma"), (0x3B4, "delta"), (0x3B5, "epsilon"), (0x3B6, "zeta"), (0x3B7, "eta"),
    (0x3B8, "theta"), (0x3BA, "kappa"), (0x3BB, "lambda"), (0x3BC, "mu"), (0x3BD, "nu"), (0x3BE, "xi"), (0x3C0, "pi"), (0x3C1, "rho"),
    (0x3C3, "sigma"), (0x3C4, "tau"), (0x3C6, "phi"), (0x3C7, "chi"), (0x3C8, "psi"), (0x3C9, "omega"), (0x393, "Gamma"),
    (0x394, "Delta"), (0x398, "Theta"), (0x39B, "Lambda"), (0x3A0, "Pi"), (0x3A3, "Sigma"), (0x3A6, "Phi"), (0x3A8, "Psi"),
    (0x3A9, "Omega"),
)}  # fmt: skip
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u0308": '"',
            "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"}  # fmt: skip


def html_text(text: object) -> str:
    """Return a text for HTML's content and quoted attributes."""
    return html.escape(visible(text))


def markdown_text(text: object) -> str:
    """Return a text for a line of Markdown, also its start, or a cell of a table.

    No mark-up, entity, tag, image or link begins in it, nor a bare address that GFM would link. An address of mail is the exception:
    GitHub's own renderer links it whatever stands before the @, but in code.
    """
    seen = visible(text)
    kept = {at for run in _WORD_INSIDE.finditer(seen) for at in range(*run.span())}
    said = "".join(ch if at in kept else _MARKDOWN.get(ch, ch) for at, ch in enumerate(seen))
    said = re.sub(r"(?i):(?=//)|(?<=mailto):|(?<=xmpp):|(?<=\w)@(?=\w)", lambda found: f"&#{ord(found[0])};", said)
    said = re.sub(r"(?i)(?<!\w)(www)\.", r"\1\\.", said)
    return re.sub(r"^(\d+(?=[.)](?:\s|$))|(?=[-+#=:]))", r"\1\\", said)  # a list, a heading, a rule, a definition


def code_span(text: str) -> str:
    """Return a text as code within a line of Markdown."""
    seen = visible(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", seen)), default=0))
    return f"{fence} {seen} {fence}" if seen.startswith("`") or seen.endswith("`") else f"{fence}{seen}{fence}"


def latex_text(text: object) -> str:
    """Return a text for LaTeX's paragraphs and cells, in ASCII; a character that its fonts lack stands as [U+6F22].

    Brackets and stars stand in braces, as the row before might take them for its own; ligatures are broken.
    """
    said = "".join(_latex(ch) for ch in unicodedata.normalize("NFC", visible(text)))
    return re.sub(r"(['\-,])(?=\1)", r"\1{}", said)


def _latex(ch: str) -> str:
    if ch in _LATEX or ch.isascii():
        return _LATEX.get(ch, ch)
    apart = unicodedata.normalize("NFD", ch)
    if len(apart) == 2 and apart[0].isascii() and apart[0].isalpha() and apart[1] in _ACCENTS:
        return f"\\{_ACCENTS[apart[1]]}{{{apart[0]}}}"
    return "".join(_LATEX.get(c, c) for c in code_point(ch))
