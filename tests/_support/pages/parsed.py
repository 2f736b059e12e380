"""A page as a tree of elements, found by their labels as a screen reader finds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_EMPTY = {"input", "meta", "link", "br", "hr", "img", "line"}


@dataclass
class PageElement:
    """An element with its attributes, texts and elements in order."""

    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    content: list[PageElement | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        return " ".join("".join(self._list_texts()).split())

    def find_all(self, tag: str, **attributes: str) -> list[PageElement]:
        """Return the elements inside with this tag and these attributes; `_` stands for `-`."""
        wanted = {name.rstrip("_").replace("_", "-"): each for name, each in attributes.items()}
        return [
            each
            for each in self._walk()
            if each.tag == tag and wanted.items() <= each.attributes.items()
        ]

    def find(self, tag: str, **attributes: str) -> PageElement:
        """Return the only such element."""
        (found,) = self.find_all(tag, **attributes)
        return found

    def list_links(self) -> list[str]:
        """Return the addresses of all links inside."""
        return [each.attributes["href"] or "" for each in self.find_all("a")]

    def _walk(self) -> Iterator[PageElement]:
        for each in self.content:
            if isinstance(each, PageElement):
                yield each
                yield from each._walk()

    def _list_texts(self) -> Iterator[str]:
        for each in self.content:
            if isinstance(each, str):
                yield each
            else:
                yield from each._list_texts()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [PageElement("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = PageElement(tag, dict(attrs))
        self.open[-1].content.append(element)
        if tag not in _EMPTY:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].content.append(PageElement(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parse_page(html: str) -> PageElement:
    """Return the document. Fails for elements that are not closed in their order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"not closed: {reader.open[-1].tag}"
    return reader.open[0]
