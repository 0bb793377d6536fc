"""What every page that Nightshift writes must be: well-formed, and in need of nothing else."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = frozenset({"meta", "br", "rect", "line", "polyline", "circle"})
_LOADING = frozenset({"script", "img", "link", "iframe", "object", "embed", "base"})


class Page(HTMLParser):
    """A page taken apart: fails on elements that are not closed; `text` is what a person reads.

    `requests` are the elements and attributes by which it would load something or run a script; `links` are addresses
    that a person may follow.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.requests: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self._read: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = " ".join(" ".join(self._read).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.tags.append(tag)
        self.requests += [tag] if tag in _LOADING else []
        self.requests += [name for name, _ in attrs if name in ("src", "srcset") or name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It must be the one opened last."""
        if tag not in _VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text, unless it is the style sheet."""
        if self._open and self._open[-1] != "style":
            self._read.append(data)
