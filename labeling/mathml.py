"""LaTeX of untrusted Markdown as MathML, on the server: no script, no font, no inline style.

It knows the four usual delimiters, and rebuilds the converter's tree element by element, so that nothing that is not
named here comes out. What cannot be shown (broken, too long, too deep, with macros) is shown as its source.
"""

import re
from collections.abc import Iterator, MutableMapping, Sequence
from html import escape, unescape
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

FORMULA_LIMIT = 2_000
"""Longest formula in characters; the converter takes up to 30 ms for it."""
TEXT_LIMIT = 20_000
"""Characters of all the formulas of a text that are converted."""
DEPTH_LIMIT = 60
WIDE = 60
"""A displayed formula with a longer source may have to scroll, and is given a tab stop for that."""

TAGS = {
    *("math", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded", "mphantom", "mprescripts", "mroot"),
    *("mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder"),
    "munderover",
}
VALUES = {
    **dict.fromkeys(("accent", "accentunder", "displaystyle", "movablelimits", "stretchy"), re.compile("true|false")),
    **dict.fromkeys(("maxsize", "minsize", "width"), re.compile(r"[0-4]?(\.[0-9]{1,3})?em")),
    "display": re.compile("block"),
    "form": re.compile("prefix|postfix"),
    "linethickness": re.compile("0"),
    "mathvariant": re.compile("normal"),
    "scriptlevel": re.compile("[0-2]"),
}
"""Attributes that may stay, and what they may say. No length is negative or long: a formula keeps to its box."""
CLASSES = re.compile(r"math-[a-z]+( math-[a-z]+)*")
ATTRIBUTES = {
    **{tag: {"class"} for tag in TAGS},
    "math": {"display"},
    "mfrac": {"linethickness"},
    "mi": {"class", "mathvariant"},
    "mo": {"class", "form", "maxsize", "minsize", "movablelimits", "stretchy"},
    "mover": {"accent"},
    "mspace": {"width"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mtable": {"class", "displaystyle"},
    "munder": {"accentunder"},
}

_END = r"\n(?![ \t]*\n)"
_BODIES = {
    "$$": re.compile(rf"((?:[^$\\\n]++|\\.|\$(?!\$)|{_END})+)\$\$", re.DOTALL),
    "$": re.compile(rf"((?:[^$\\\n]++|\\.|{_END})+)\$", re.DOTALL),
    "\\[": re.compile(rf"((?:[^\\\n]++|\\[^\[\]]|{_END})+)\\\]"),
    "\\(": re.compile(rf"((?:[^\\\n]++|\\[^()]|{_END})+)\\\)"),
}
"""From behind an opening delimiter to its closing one; each stops at the next opening one, so time stays linear.

The groups are not possessive: Python before 3.11.5 gets such repeats wrong.
"""
_CLOSING = {"$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
_COMMAND = re.compile(r"\\[A-Za-z]+\s*(?:\{[^{}]*\})?")
_WORDS = re.compile(r"\b[^\W\d_]{2,}+,?\s++[^\W\d_]{2,}")
_AMOUNT = re.compile(r"\d.*[^\W\d_]{3}", re.DOTALL)
_SIGNS = re.compile(r"[\\^_=+*/<>{}-]")

_MACRO = re.compile(r"\\(?:def|(?:re)?newcommand|DeclareMathOperator)")
_REWRITES = [
    (re.compile(r"\\(begin|end)\s*\{(?:aligned|align|split)\}"), r"\\\1{align*}"),
    (re.compile(r"\\(begin|end)\s*\{alignedat\}(?:\{\d\})?"), r"\\\1{align*}"),
    (re.compile(r"\\(begin|end)\s*\{gather(?:ed|\*)?\}"), r"\\\1{matrix}"),
    (re.compile(r"\\(begin|end)\s*\{[dr]cases\}"), r"\\\1{cases}"),
    (re.compile(r"\\\\\s*\[-?[\d.]+\s*(?:pt|em|ex|mm|cm)\]"), r"\\\\"),
    (re.compile(r"\\(?:nonumber|notag|hfill|label\s*\{[^{}]*\})(?![A-Za-z])"), ""),
    (re.compile(r"\\mathscr(?![A-Za-z])"), r"\\mathcal"),
    (re.compile(r"\\arg(?![A-Za-z])"), r"\\operatorname{arg}"),
]
"""What the converter lacks, in words that it has."""
_LIMITED = {"lim", "max", "min", "sup", "inf", "argmax", "argmin"}
_ESCAPED = re.compile(r"\\([%$#&_{} ])")
_TOKENS = {"mi", "mn", "mo", "mtext", "mspace"}


def add_math(markdown: MarkdownIt) -> None:
    r"""Parse and render `$…$`, `$$…$$`, `\(…\)` and `\[…\]`."""
    ends_a_paragraph: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    markdown.block.ruler.before("fence", "math_block", _parse_block, ends_a_paragraph)
    markdown.inline.ruler.before("escape", "math_inline", _parse_inline)
    markdown.add_render_rule("math_block", _render_token)
    markdown.add_render_rule("math_inline", _render_token)


def to_mathml(latex: str, *, display: bool) -> str | None:
    """The formula as MathML; nothing if it cannot be shown."""
    if len(latex) > FORMULA_LIMIT or _MACRO.search(latex):
        return None
    for pattern, replacement in _REWRITES:
        latex = pattern.sub(replacement, latex)
    try:
        tree = convert_to_element(latex, display="block" if display else "inline")
        return "".join(_write(tree, 0))
    except Exception:  # noqa: BLE001  the converter lets any error through that a broken formula causes
        return None


class Unshown(Exception):
    """The tree has something that is not written."""


def _write(element: Element, depth: int) -> Iterator[str]:
    if depth > DEPTH_LIMIT:
        raise Unshown
    tag, attributes = _translate(element)
    if tag not in TAGS:
        raise Unshown
    allowed = ATTRIBUTES[tag]
    kept = {name: value for name, value in attributes.items() if name in allowed and is_safe(name, value)}
    yield f"<{tag}" + "".join(f' {name}="{escape(value)}"' for name, value in kept.items()) + ">"
    yield escape(_text(element, tag), quote=False)
    for child in element:
        yield from _write(child, depth + 1)
    yield f"</{tag}>"


def is_safe(attribute: str, value: str) -> bool:
    """Whether an element of MathML may say this."""
    pattern = CLASSES if attribute == "class" else VALUES.get(attribute)
    return pattern is not None and pattern.fullmatch(value) is not None


def _text(element: Element, tag: str) -> str:
    text = unescape(element.text or "")
    if tag == "mtext":
        return _ESCAPED.sub(r"\1", text)
    if text.startswith("\\") and len(text) > 1:
        if text[1].isalpha():  # a command that the converter does not know
            raise Unshown
        return text[1:]
    return text


def _translate(element: Element) -> tuple[str, dict[str, str]]:
    """The element in the words of MathML Core, which has classes for what the converter says in older attributes."""
    tag, attributes = element.tag, dict(element.attrib)
    classes = list(_classes(element))
    if tag == "menclose" or (tag in _TOKENS and len(element)):  # only text may stand in a token
        tag = "mrow"
    elif tag == "mspace" and "linebreak" in attributes:
        raise Unshown
    elif tag == "mtable":
        _rule(element)
    elif tag == "mover" and element[1].tag == "mo":
        attributes["accent"] = "true"
    elif tag in ("msub", "munder") and element[0].tag == "mo" and element[0].text in _LIMITED:
        tag = "munder"
        element[0].set("movablelimits", "true")
    if classes:
        attributes["class"] = " ".join(classes)
    return tag, attributes


def _classes(element: Element) -> Iterator[str]:
    variant = element.get("mathvariant", "")
    for style in ("bold", "italic", "monospace"):
        if style in variant and (style != "italic" or element.tag == "mtext"):
            yield f"math-{style}"
    notation = element.get("notation", "")
    if element.tag == "menclose":
        yield "math-box" if notation == "box" else "math-strike"
    if element.tag == "mtd":
        if element.get("columnalign") in ("left", "right"):
            yield f"math-{element.get('columnalign')}"
        yield from (f"math-{line}" for line in ("beside", "below") if element.get(line))


def _rule(table: Element) -> None:
    """Note at each cell which lines the table draws beside and below it."""
    columns, rows = table.get("columnlines", "").split(), table.get("rowlines", "").split()
    for number, row in enumerate(table):
        for column, cell in enumerate(row):
            if columns and columns[min(column, len(columns) - 1)] != "none" and column < len(row) - 1:
                cell.set("beside", "yes")
            if rows and rows[min(number, len(rows) - 1)] != "none" and number < len(table) - 1:
                cell.set("below", "yes")


def _parse_inline(state: StateInline, silent: bool) -> bool:
    opening = next((mark for mark in _BODIES if state.src.startswith(mark, state.pos)), None)
    if opening is None:
        return False
    start = state.pos + len(opening)
    found = _BODIES[opening].match(state.src, start, state.posMax)
    if found is None:
        return False
    before, after = state.src[max(0, state.pos - 1) : state.pos], state.src[found.end() : found.end() + 1]
    if not _is_formula(opening, found[1], before=before, after=after):
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content, token.markup = found[1], opening
    state.pos = found.end()
    return True


def _is_formula(opening: str, latex: str, *, before: str, after: str) -> bool:
    """Tell a formula from money, shell variables and escaped brackets in running text."""
    if not latex.strip() or "`" in latex:
        return False
    if opening == "$" and (latex[0].isspace() or latex[-1].isspace() or before.isalnum() or after.isalnum()):
        return False
    if opening == "\\[" and not _SIGNS.search(latex):
        return False
    rest = _COMMAND.sub("", latex)
    return opening == "$$" or not (_WORDS.search(rest) or _AMOUNT.match(rest))


def _parse_block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    start = state.bMarks[first] + state.tShift[first]
    opening = state.src[start : start + 2]
    if opening not in ("$$", "\\[") or state.is_code_block(first):
        return False
    found = _BODIES[opening].match(state.src, start + 2)
    if found is None or not found[1].strip():
        return False
    last = first
    while last < end and state.eMarks[last] < found.end():
        last += 1
    if last >= end or state.src[found.end() : state.eMarks[last]].strip():
        return False
    if any(state.sCount[line] < state.blkIndent for line in range(first + 1, last + 1)):
        return False
    if not silent:
        starts = [start + 2, *(state.bMarks[line] for line in range(first + 1, last + 1))]
        ends = [*(state.eMarks[line] for line in range(first, last)), found.end(1)]
        token = state.push("math_block", "math", 0)
        token.content = "\n".join(state.src[a:b] for a, b in zip(starts, ends, strict=True))
        token.block, token.markup, token.map = True, opening, [first, last + 1]
    state.line = last + 1
    return True


def _render_token(
    _renderer: RendererHTML, tokens: Sequence[Token], index: int, _options: object, env: MutableMapping[str, Any]
) -> str:
    token = tokens[index]
    latex, display = token.content, token.markup in ("$$", "\\[")
    env["latex"] = env.get("latex", 0) + len(latex)
    mathml = to_mathml(latex, display=display) if env["latex"] <= TEXT_LIMIT else None
    source = escape(token.markup + latex + _CLOSING[token.markup])
    shown = mathml or f"<code>{source}</code>"
    if not display:
        return shown
    tab_stop = ' tabindex="0"' if mathml and len(latex) > WIDE else ""
    return f'<span class="math-display"{tab_stop}>{shown}</span>' + ("\n" if token.block else "")
