"""Markdown of people and models as safe HTML, LaTeX as MathML.

Everything is untrusted: raw HTML is shown as text, images as links.
"""

import re
from collections.abc import Sequence

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import formatters, highlight, lexers, util

from labeling import mathml

HEADING_SHIFT = 3
"""A response's headings stand below the page's own: its h1 becomes h4."""
HIGHLIGHT_LIMIT = 20_000
TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span"),
    *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    *mathml.TAGS,
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "span": {"class", "tabindex"},
    "td": {"class"},
    "th": {"class"},
    "ol": {"start"},
    "pre": {"tabindex"},
    **mathml.ATTRIBUTES,
}
SAFE_CLASS = re.compile(r"(align-(left|right|center)|math-display|[a-z][a-z0-9]{0,2})")


def render(text: str) -> SafeString:
    """Sanitised HTML of untrusted Markdown."""
    html = nh3.clean(
        _markdown.render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_filter,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(html)  # noqa: S308  just sanitised


def _filter(tag: str, attribute: str, value: str) -> str | None:
    if tag in mathml.TAGS:
        return value if mathml.is_safe(attribute, value) else None
    if attribute == "class" and not SAFE_CLASS.fullmatch(value):
        return None
    return value


def _highlight(code: str, language: str) -> str:
    """Spans with the short class names of Pygments; plain text for an unknown language."""
    if not language or len(code) > HIGHLIGHT_LIMIT:
        return ""
    try:
        lexer = lexers.get_lexer_by_name(language)
    except util.ClassNotFound:
        return ""
    return str(highlight(code, lexer, formatters.HtmlFormatter(nowrap=True)))


def _image(_renderer: RendererHTML, tokens: Sequence[Token], index: int, *_: object) -> str:
    """A link: an image would tell its host who reads it."""
    token = tokens[index]
    source = escape(str(token.attrs.get("src", "")))
    return f'<a href="{source}">[image: {escape(token.content) or "no description"}]</a>'


def _fence(_renderer: RendererHTML, tokens: Sequence[Token], index: int, *_: object) -> str:
    """Code in a region that the keyboard can scroll."""
    token = tokens[index]
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else ""
    code = _highlight(token.content, language) or escape(token.content)
    return f'<pre tabindex="0"><code>{code}</code></pre>\n'


def _tame(tokens: Sequence[Token]) -> None:
    """Lower the headings, and turn the inline style of an aligned cell into a class (the CSP allows no style)."""
    for token in tokens:
        if token.tag in {"h1", "h2", "h3", "h4", "h5", "h6"}:
            token.tag = f"h{min(6, int(token.tag[1]) + HEADING_SHIFT)}"
        style = str(token.attrs.pop("style", ""))
        if style.startswith("text-align:"):
            token.attrs["class"] = f"align-{style.removeprefix('text-align:')}"


def _build() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    markdown.core.ruler.push("tame", lambda state: _tame(state.tokens))
    mathml.add_math(markdown)
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("fence", _fence)
    return markdown


_markdown = _build()
