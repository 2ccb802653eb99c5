"""The site builds without a warning; its links and pictures are whole, and it loads nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.support.pages import DOCS, ROOT

#: Elements that make a browser load the address in the attribute.
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """Collect the links, anchors and loaded addresses of one page of HTML."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.loaded: set[str] = set()
        self.without_text: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        if address := given.get(LOADS.get(tag, ""), ""):
            self.loaded.add(address)
        if tag == "img" and not given.get("alt", "").strip():
            self.without_text.append(given.get("src", "?"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The site, built as ``make docs`` builds it: its pages by path."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", str(DOCS), "-b", "html"]
    path = os.pathsep.join((str(ROOT / "compat"), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(ROOT), str(folder / "html")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return {page: Page(page) for page in sorted((folder / "html").rglob("*.html"))}


def test_links_lead_somewhere(site: dict[Path, Page]) -> None:
    broken = []
    for page in site.values():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            anchors = site[target].anchors if target in site else {parts.fragment, unquote(parts.fragment)}
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{page.path}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    addresses = {address for page in site.values() for address in page.loaded}
    folder = next(iter(site)).parent
    styles = {line for path in folder.rglob("*.css") for line in path.read_text("utf-8").split("url(")[1:]}
    assert {address for address in addresses if urlsplit(address).netloc} == set()
    assert {line[:60] for line in styles if line.lstrip("'\"").startswith(("http", "//"))} == set()


def test_pictures_have_a_text(site: dict[Path, Page]) -> None:
    assert {str(page.path): page.without_text for page in site.values() if page.without_text} == {}


def test_each_page_is_in_the_navigation(site: dict[Path, Page]) -> None:
    """A chain of links leads from the first page to each page, by way of pages called index or README."""
    first = next(path for path in site if path.parts[-2:] == ("docs", "index.html"))
    reached, todo = {first}, [first]
    while todo:
        page = todo.pop()
        found = {
            (page.parent / unquote(urlsplit(link).path)).resolve() for link in site[page].links
        } & site.keys()
        todo += [path for path in found - reached if path.stem in ("index", "README")]
        reached |= found
    assert {
        str(path) for path in site.keys() - reached if {"docs", "examples"} & set(path.parts[-4:-1])
    } == set()
