"""Look through the finished book: no page asks for anything from outside, and every link inside it leads somewhere.

python docs/book/check.py build/book
"""

import argparse
import html
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "embed": "src",
    "object": "data",
}
LOADING_RELATIONS = ("stylesheet", "preload", "icon", "modulepreload", "preconnect", "dns-prefetch", "manifest")
IN_STYLE = re.compile(r"""@import\s+["']?([^"';]+)|url\(\s*["']?([^"')]+)""")
IN_SCRIPT = re.compile(r"""(?:fetch|importScripts|import)\s*\(\s*["']((?:https?:)?//[^"']*)""")


class Page(HTMLParser):
    """What a page loads, where its links go, and the anchors it has; pages in ``srcdoc`` count as part of it."""

    def __init__(self, text: str):
        super().__init__()
        self.loads, self.links, self.anchors, self.inside = [], [], set(), None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Take note of one tag."""
        given = dict(attributes)
        self.inside = tag
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if given.get(LOADS.get(tag)):
            self.loads.append(given[LOADS[tag]])
        if tag == "link" and any(r in (given.get("rel") or "") for r in LOADING_RELATIONS):
            self.loads.append(given.get("href") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        self._style(given.get("style") or "")
        if given.get("srcdoc"):
            self.loads += Page(given["srcdoc"]).loads

    def handle_data(self, data):
        """Look into styles and scripts."""
        if self.inside == "style":
            self._style(data)
        if self.inside == "script":
            self.loads += IN_SCRIPT.findall(data)

    def handle_endtag(self, tag):
        """Leave a style or script."""
        self.inside = None

    def _style(self, text):
        self.loads += [first or second for first, second in IN_STYLE.findall(html.unescape(text))]


def is_outside(address: str) -> bool:
    """Return whether ``address`` leads away from the book."""
    return address.startswith("//") or urlsplit(address).scheme not in ("", "data", "blob", "about")


def faults(book: Path) -> list[str]:
    """Return a line for each address that a page or style loads from outside, and for each link that leads nowhere."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(book.rglob("*.html"))
        if "_static" not in path.parts
    }
    found = []
    for path, page in pages.items():
        name = path.relative_to(book.resolve())
        found += [f"{name} loads {address}" for address in page.loads if is_outside(address)]
        for link in page.links + [load for load in page.loads if not is_outside(load)]:
            parts = urlsplit(link)
            if is_outside(link) or parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} links to {link}, which has no such place")
    for path in sorted(book.rglob("*.css")):
        addresses = [first or second for first, second in IN_STYLE.findall(path.read_text(encoding="utf-8"))]
        found += [f"{path.relative_to(book)} loads {address}" for address in addresses if is_outside(address)]
    return found


def main():
    parser = argparse.ArgumentParser(prog="python docs/book/check.py", description="Check the finished book.")
    parser.add_argument("book", type=Path)
    book = parser.parse_args().book
    found = faults(book)
    if found:
        sys.exit("\n".join(found))
    print(f"{len(list(book.rglob('*.html')))} pages: nothing from outside, every link leads somewhere")


if __name__ == "__main__":
    main()
