"""Turn a page of markdown into HTML, with the anchors that GitHub gives its headings."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import pairwise
from string import Template
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

STYLE, SCRIPT = "site.css", "site.js"
_PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Page:
    """A parsed page: its title, and its tokens, whose links can still be changed."""

    title: str
    tokens: list[Token]


def parse(text: str) -> Page:
    """Parse markdown."""
    tokens = _PARSER.parse(text)
    used: dict[str, int] = {}
    title = ""
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(part.content for part in inline.children or () if part.type in ("text", "code_inline"))
            title = title or words
            anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            count = used.get(anchor, 0)
            used[anchor] = count + 1
            opening.attrSet("id", f"{anchor}-{count}" if count else anchor)
    return Page(title, tokens)


def follow(page: Page, change: Callable[[str], str | None]) -> None:
    """Replace the addresses of all links and images; a link whose new address is None becomes plain text."""
    for token in page.tokens:
        for part in token.children or ():
            if part.type == "link_open" and (found := change(str(part.attrGet("href")))) is not None:
                part.attrSet("href", found)
            elif part.type == "link_open":
                part.attrs = {}
            elif part.type == "image":
                part.attrSet("src", change(str(part.attrGet("src"))) or "")


def addresses(page: Page) -> list[str]:
    """Return the addresses of all links and images of a page."""
    found: list[str] = []

    def keep(address: str) -> str:
        found.append(address)
        return address

    follow(page, keep)
    return found


def render(page: Page, root: str, navigation: str, extra: str = "") -> str:
    """Return the whole HTML of a page.

    `root`: the way to the site's folder, as `../`; `navigation`: HTML above the page; `extra`: HTML that takes the
    place of the first image, which stays as what is seen without scripts.
    """
    options: Any = _PARSER.options
    body = _PARSER.renderer.render(page.tokens, options, {})
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    if extra:
        body = re.sub(r"<p>(<img [^>]*>)</p>", lambda match: extra.replace("$image", match[1]), body, count=1)
    return whole(page.title, root, navigation, body)


def whole(title: str, root: str, navigation: str, body: str, head: str = "") -> str:
    """Return the HTML of a page from its parts; `head` goes in front of all that the page loads."""
    return page_file("page.html").substitute(
        title=escape(title), root=escape(root), navigation=navigation, body=body, head=head
    )


def page_file(name: str) -> Template:
    """Return a shipped part of pages, whose `$names` are to be filled in."""
    return Template(files(__package__).joinpath("page", name).read_text(encoding="utf-8"))
