"""The site builds without a warning; its links and pictures are whole, and it loads nothing from elsewhere.

The pages are built without the theme, whose navigation on each page takes as long as everything else; the theme is
tried on one page. A busy machine may need minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.support.pages import DOCS, ROOT

pytestmark = pytest.mark.timeout(600)

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


def build(source: Path, folder: Path, theme: str) -> dict[Path, Page]:
    """Build ``source`` as ``make docs`` builds the site: a warning is an error. Returns the pages by path."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        str(DOCS),
        "-b",
        "html",
    ]
    path = os.pathsep.join((str(ROOT / "compat"), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(source), str(folder / "html")],
        env={**os.environ, "PYTHONPATH": path, "GEARMESH_DOCS_THEME": theme},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {page: Page(page) for page in sorted((folder / "html").rglob("*.html"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """All pages of the site, without its theme."""
    return build(ROOT, tmp_path_factory.mktemp("site"), theme="epub")


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


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page], tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "index.md").write_text("# A page\n\n```python\nprint()\n```\n", "utf-8")
    pages = [*site.values(), *build(tmp_path, tmp_path / "build", theme="furo").values()]
    addresses = {address for page in pages for address in page.loaded}
    styles = {
        line
        for path in (tmp_path / "build").rglob("*.css")
        for line in path.read_text("utf-8").split("url(")[1:]
    }
    assert {address for address in addresses if urlsplit(address).netloc} == set()
    assert {line[:60] for line in styles if line.lstrip("'\"").startswith(("http", "//"))} == set()
    assert (tmp_path / "build" / "html" / "searchindex.js").exists()


def test_pictures_have_a_text(site: dict[Path, Page]) -> None:
    assert {str(page.path): page.without_text for page in site.values() if page.without_text} == {}


def test_docstrings_of_properties_are_whole(site: dict[Path, Page]) -> None:
    """Napoleon takes the words before a colon in the first line of a property's docstring for its type."""
    field = re.compile(r"<dt[^>]*>Type<.*?</dt>\s*<dd[^>]*>(.*?)</dd>", re.DOTALL)
    types = {
        f"{path.name}: {' '.join(re.sub('<[^>]*>', '', kind).split())}"
        for path in site
        if path.parent.name == "api"
        for kind in field.findall(path.read_text("utf-8"))
    }
    assert len(types) > 10
    assert {kind for kind in types if re.search(r": [A-Z][a-z]+ [a-z]", kind)} == set()


def test_each_page_is_in_the_navigation() -> None:
    text = (DOCS / "index.md").read_text("utf-8") + (DOCS / "reference/api/index.md").read_text("utf-8")
    lines = {
        line.strip()
        for block in re.findall(r"```{toctree}\n(.*?)```", text, re.DOTALL)
        for line in block.split()
    }
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    unnamed = {
        page for page in pages if page not in lines and page.removeprefix("reference/api/") not in lines
    }
    assert {page for page in unnamed if (page.rpartition("/")[0] + "/*").lstrip("/") not in lines} == set()
