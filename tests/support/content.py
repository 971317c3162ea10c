"""What stands on a page: its elements and their texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"input", "meta"}
"""Elements without an end."""
UNSEEN = {"script", "style"}


@dataclass
class Element:
    """An element, and the text inside it."""

    tag: str
    attributes: dict[str, str | None]
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text, with single spaces."""
        return " ".join(" ".join(self.words).split())


class Content(HTMLParser):
    """The elements of a page, in the order in which they begin."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(page)
        assert not self._open

    @property
    def text(self) -> str:
        """All that can be read."""
        return self.texts("body")[0]

    def texts(self, tag: str, **attributes: str) -> list[str]:
        """Text of each element with this tag (any: "*") and these attributes; `class_` stands for "class"."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}.items()
        return [e.text for e in self.elements if tag in ("*", e.tag) and wanted <= e.attributes.items()]

    def values(self, *names: str) -> list[str]:
        """What the elements have for attributes of these names."""
        return [value or "" for e in self.elements for name, value in e.attributes.items() if name in names]

    def rows(self) -> list[list[str]]:
        """The cells of every table's rows."""
        rows: list[list[str]] = []
        for element in self.elements:
            if element.tag == "tr":
                rows.append([])
            elif element.tag in ("td", "th"):
                rows[-1].append(element.text)
        return rows

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        unseen = self._open and self._open[-1].tag in UNSEEN
        for element in self._open[-1:] if unseen else self._open:
            element.words.append(data)
