"""The built site, looked over: every link and anchor in it resolves, and nothing is loaded from another host."""

from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Reader(HTMLParser):
    """Collects what a page of HTML links to, loads, and can be linked at."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        loaded = values.get("src") if tag in ("script", "img", "iframe", "source") else None
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "preconnect", "icon", "modulepreload"):
            loaded = values.get("href")
        if loaded is not None:
            self.loads.append(loaded)


@cache
def _read(file: Path) -> _Reader:
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader


def complaints(site: Path) -> Iterator[str]:
    """What is wrong with the built site, one line each."""
    _read.cache_clear()
    foreign: dict[str, list[str]] = {}
    for file in sorted(site.rglob("*.html")):
        where = file.relative_to(site).as_posix()
        if where == "404.html":  # its links begin at the host's root
            continue
        page = _read(file)
        for load in page.loads:
            if urlsplit(load).netloc:
                foreign.setdefault(load, []).append(where)
            elif not load.startswith("data:") and not (file.parent / unquote(urlsplit(load).path)).is_file():
                yield f"{where}: loads {load}, which is not there"
        for href in page.links:
            problem = _broken(site, file, href)
            if problem:
                yield f"{where}: {problem}"
    for load, pages in foreign.items():
        yield f"{load} is loaded from another host by {pages[0]} and {len(pages) - 1} more pages"


def _broken(site: Path, file: Path, href: str) -> str:
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        return ""
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return f"the link {href} leads to nothing"
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in _read(target).ids:
        return f"the link {href} leads to an anchor that is not there"
    return ""
