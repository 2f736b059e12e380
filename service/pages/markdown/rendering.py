"""Markdown as cleaned HTML: model output is hostile input.

The parser passes no HTML through, and a cleaner with a list of permitted elements checks its
result again. No element has an id or a style, so that no text can imitate a part of the page, and
nothing is loaded: a picture becomes a link. Headings start at the third level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_TAGS: Final = {
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES: Final = {
    "a": {"href", "title"},
    "ol": {"start"},
    "span": {"class"},
    "td": {"class"},
    "th": {"class"},
}
_SCHEMES: Final = {"http", "https", "mailto"}
_ALIGNMENTS: Final = {"text-align:center": "center", "text-align:right": "end"}
_HIGHLIGHTED_CHARS: Final = 20_000  # of one block; longer code is shown without colours
_FORMATTER: Final = HtmlFormatter(nowrap=True, classprefix="tok-")


def render_fragment(
    text: str, references: dict[str, Any] | None = None, *, is_coloured: bool = True
) -> str:
    """Return Markdown as HTML, without anything that can run or load.

    `references` are the definitions of links so far; those of the text are added. `is_coloured`:
    code is highlighted.
    """
    known = {} if references is None else references
    return nh3.clean(
        _MARKDOWN.render(text, {"references": known, "is_coloured": is_coloured}),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
    )


def render_plain(text: str) -> str:
    """Return a text as it is written, in one element."""
    return f"<pre>{nh3.clean_text(text)}</pre>"


def _highlight(code: str, language: str, _attributes: str) -> str:
    """Return code as spans with classes; "" lets the parser escape it without colours."""
    if not language or len(code) > _HIGHLIGHTED_CHARS:
        return ""
    try:
        lexer = get_lexer_by_name(language[:40], stripnl=False, ensurenl=False)
    except ClassNotFound:
        return ""
    shown: str = highlight(code, lexer, _FORMATTER)
    return shown


def _is_link(url: str) -> bool:
    """Return whether a link may be one: to a page elsewhere, never to an address of the service."""
    return url.strip().lower().startswith(("http://", "https://", "mailto:"))


def _render_image(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[idx]
    label = self.renderInlineAsText(token.children, options, env) or "picture"
    href = nh3.clean_text(str(token.attrs.get("src", "")))
    return f'<a href="{href}">{nh3.clean_text(label)}</a>'


def _render_fence(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
) -> str:
    del self, options
    token = tokens[idx]
    language = (token.info.split() or [""])[0] if env["is_coloured"] else ""
    shown = _highlight(token.content, language, "") or nh3.clean_text(token.content)
    return f"<pre><code>{shown}</code></pre>\n"


def _render_cell(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
) -> str:
    del self, options, env
    token = tokens[idx]
    kind = _ALIGNMENTS.get(str(token.attrs.get("style", "")))
    return f'<{token.tag} class="{kind}">' if kind else f"<{token.tag}>"


def _render_heading(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
) -> str:
    del self, options, env
    token = tokens[idx]
    level = min(6, int(token.tag[1]) + 2)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"


_RULES: Final[Mapping[str, Any]] = {
    "image": _render_image,
    "fence": _render_fence,
    "th_open": _render_cell,
    "td_open": _render_cell,
    "heading_open": _render_heading,
    "heading_close": _render_heading,
}


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = _is_link  # type: ignore[method-assign]  # its documented use
    for name, rule in _RULES.items():
        parser.add_render_rule(name, rule)
    return parser


_MARKDOWN: Final = _make_parser()
