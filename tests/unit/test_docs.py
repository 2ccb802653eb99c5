"""The Python blocks of the README and of the parts "start" and "how to" run, and their comments are true.

A line ``EXPRESSION  # → VALUE`` is checked against the value's repr, ``EXPRESSION  # raises NAME`` against the
exception. Each section begins with the first block of its page (the app), and has a worker beside it if there is an
app; Redis is replaced by ``memory://``. A block that cannot run stands behind ``<!-- not run: REASON -->``;
tests/unit/test_walkthroughs.py runs those behind ``<!-- file: PATH -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from runpy import run_path
from types import ModuleType
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from tests.support.pages import ROOT, page_path, page_paths

import gearmesh
from gearmesh import App
from gearmesh.worker import Worker

PAGES = (
    "README.md",
    *(str(page.relative_to(ROOT)) for page in page_paths() if page.parent.name in ("start", "howto")),
)
#: In any database.
REDIS = re.compile(r"redis://localhost:6379/\d")

_FENCE = re.compile(
    r"(?P<before>[^\n]*)\n+```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_VALUE = re.compile(r"^(?P<code>\S.*?)  # → (?P<want>.+)$")
_RAISES = re.compile(r"^(?P<code>\S.*?)  # raises (?P<want>\w+)$")
_LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")


class Section(NamedTuple):
    """One heading's Python blocks, each with the number of its first line."""

    page: str
    title: str
    blocks: tuple[tuple[int, str], ...]


def sections(page: str) -> list[Section]:
    """The sections of a page that have Python blocks."""
    text = (ROOT / page).read_text("utf-8")
    found: dict[str, list[tuple[int, str]]] = {}
    titles = [(match.start(), match[1]) for match in re.finditer(r"^##? (.+)$", text, re.MULTILINE)]
    for match in _FENCE.finditer(text):
        if match["language"] != "python" or match["before"].startswith(("<!-- not run: ", "<!-- file: ")):
            continue
        title = [title for start, title in titles if start < match.start("code")][-1]
        line = text.count("\n", 0, match.start("code")) + 1
        found.setdefault(title, []).append((line, match["code"]))
    return [Section(page, title, tuple(blocks)) for title, blocks in found.items()]


ALL = [section for page in PAGES for section in sections(page)]


class Checks:
    """List the names that the comments of a block call."""

    def value(self, line: int, get: Callable[[], Any], want: str) -> None:
        got = repr(get())
        assert got == want, f"line {line}: {got}, the page says {want}"

    def raises(self, line: int, get: Callable[[], Any], want: str) -> None:
        try:
            got = f"{get()!r}, no error"
        except Exception as exc:
            if type(exc).__name__ == want:
                return
            got = repr(exc)
        pytest.fail(f"line {line}: {got}, the page says that it raises {want}")


def instrumented(start: int, code: str) -> str:
    """The block with its comments as checks, line by line where it stands on the page."""
    lines = []
    for number, line in enumerate(code.splitlines(), start):
        for kind, pattern in (("value", _VALUE), ("raises", _RAISES)):
            if match := pattern.match(line):
                line = f"_check.{kind}({number}, lambda: ({match['code']}), {match['want']!r})"
        lines.append(line)
    return "\n" * (start - 1) + "\n".join(lines)


def run(block: tuple[int, str], page: str, url: str, namespace: dict[str, Any]) -> None:
    """Execute one block in ``namespace``, on ``url`` in place of Redis."""
    code = REDIS.sub(url, instrumented(*block))
    exec(compile(code, str(ROOT / page), "exec"), namespace)


@pytest.mark.parametrize("section", ALL, ids=[f"{s.page}: {s.title}" for s in ALL])
def test_section(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{uuid4().hex}"
    module = ModuleType("gearmesh_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # a dataclass looks for its module
    monkeypatch.setitem(sys.modules, "tasks", module)  # the file that README saves its first block in
    monkeypatch.setenv("BROKER", url)
    monkeypatch.setenv("RESULT_BACKEND", url)
    namespace: dict[str, Any] = vars(module)
    namespace["_check"] = Checks()
    first = next(s for s in ALL if s.page == section.page).blocks[0]
    with ExitStack() as stack:
        run(first, section.page, url, namespace)
        app = namespace.get("app")
        if isinstance(app, App):
            stack.enter_context(app)
            if app.masked_broker != "eager":
                stack.enter_context(Worker(app, concurrency=4))
        for block in section.blocks:
            if block != first:
                run(block, section.page, url, namespace)


def test_there_are_blocks() -> None:
    assert len(ALL) > 10


@pytest.mark.parametrize("page", page_paths(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for match in _LINK.finditer(page.read_text("utf-8")):
        target = page.parent / match["path"] if match["path"] else page
        assert target.exists(), f"{page}: {match[0]}"
        if match["anchor"]:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert match["anchor"] in anchors, f"{page}: {match[0]}"


def test_pictures_are_drawn_from_their_texts() -> None:
    pictures = run_path(str(ROOT / "scripts/pictures.py"))
    texts = sorted((ROOT / "docs/pictures").glob("*.txt"))
    assert texts
    assert [
        str(path)
        for path in texts
        if pictures["draw"](path.read_text("utf-8")) != path.with_suffix(".svg").read_text("utf-8")
    ] == []


def test_recordings_that_are_named_exist() -> None:
    text = page_path("protocol.md").read_text("utf-8")
    named = set(re.findall(r"`((?:redis/)?\w+\.jsonl?)`", text))
    assert named
    assert {name for name in named if not (ROOT / "tests/golden" / name).exists()} == set()


def test_every_key_is_described() -> None:
    from gearmesh.wire.names import QueueKeys

    text = page_path("redis.md").read_text("utf-8")
    keys = QueueKeys("q")
    for slot in vars(QueueKeys("jobs")):
        if slot not in ("prefix", "queue"):
            assert f"`…{getattr(keys, slot).removeprefix(keys.prefix)}" in text, slot


def test_every_error_has_a_remedy() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text("utf-8")
    for name in gearmesh.__all__:
        kind = getattr(gearmesh, name)
        if (
            isinstance(kind, type)
            and issubclass(kind, Exception)
            and name not in ("ProtocolError", "ResultError")
        ):
            assert f"`{name}`" in text, name
