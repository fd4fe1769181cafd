"""Model output as HTML. It is hostile: raw HTML stays text, and a sanitizer has the last word."""

from html import escape

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

LONGEST = 100_000
"""Characters; a longer answer is shown as plain text, so that nobody can keep us busy with markup."""
LONGEST_CODE = 8_000
"""Characters of an answer's code that are highlighted; some lexers take a second for so many hostile ones."""
DEEPEST = 20
"""Levels of quotes and lists."""

TEXT = {"a", "br", "code", "del", "div", "em", "p", "pre", "s", "span", "strong"}
BLOCKS = {"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "ul"}
TABLES = {"table", "tbody", "td", "th", "thead", "tr"}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "pre": {"tabindex"}}
CLASSES = {"div": {"highlight"}, "span": {name for name in STANDARD_TYPES.values() if name}}
SCHEMES = {"http", "https", "mailto"}
REL = "noopener noreferrer nofollow"


def coloured(code: str, language: str) -> SafeString:
    """Code with Pygments' classes."""
    try:
        lexer = get_lexer_by_name(language if len(code) <= LONGEST_CODE else "text", stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    html: str = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return mark_safe(html)  # noqa: S308 - the formatter escapes


def _fence(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    env["code"] = env.get("code", 0) + len(token.content)
    language = token.info.strip().partition(" ")[0] if env["code"] <= LONGEST_CODE else "text"
    return f'<div class="highlight"><pre tabindex="0"><code>{coloured(token.content, language)}</code></pre></div>\n'


def _image(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """A link: fetching a picture would tell its server what the conversation says."""
    token = tokens[index]
    address = str(token.attrs.get("src", ""))
    return f'<a href="{escape(address)}">{escape(token.content or address)}</a>'


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST}).enable(["table", "strikethrough"])
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    parser.add_render_rule("image", _image)
    return parser


_markdown = _parser()


def plain(text: str) -> SafeString:
    """As it stands, for what is still coming in; the style sheet keeps its line breaks."""
    return mark_safe(escape(text))  # noqa: S308 - escaped


def markdown(text: str) -> SafeString:
    if len(text) > LONGEST:
        return mark_safe(f"<pre>{escape(text)}</pre>")  # noqa: S308 - escaped
    clean = nh3.clean(
        _markdown.render(text),
        tags=TEXT | BLOCKS | TABLES,
        attributes=ATTRIBUTES,
        allowed_classes=CLASSES,
        url_schemes=SCHEMES,
        link_rel=REL,
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return mark_safe(clean)  # noqa: S308 - cleaned by the allow-list above
