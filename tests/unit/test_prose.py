"""Sentences that readers had to read twice fail, on pages and in code; long ones are counted.

``tests.support.prose`` prints those of pages.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.code_prose import code_findings
from tests.support.pages import ROOT, page_paths
from tests.support.prose import MAX_WORDS, findings, long_sentences, sentences

#: All but the changelog, whose lines are notes.
PAGES = [page for page in page_paths() if page.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_has_to_be_read_twice(page: Path) -> None:
    assert findings(page.read_text("utf-8")) == []


def test_no_comment_and_no_test_s_name_has_to_be_read_twice() -> None:
    found = {
        str(path.relative_to(ROOT)): findings
        for folder in ("compat", "examples", "scripts", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (findings := code_findings(path.read_text("utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "#: seconds: what a worker waits",
        "a = 1  # who waits for one waits",
        "# It is told\n# of the broker, whoever asks.",
        'def f() -> None:\n    """Return it.\n\n    What is left goes back.\n    """',
        'class A:\n    """One.\n\n    Attributes:\n        a: of what is held.\n    """',
        "def test_what_is_held_comes_back() -> None: ...",
        "class TestIt:\n    async def test_whoever_asks_waits(self) -> None: ...",
        "def test_a_failure_sends_what_go_sends() -> None: ...",
    ],
)
def test_it_finds_in_code(source: str) -> None:
    assert code_findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "# None: there is none.",
        "# The user who asks says what is wrong.",
        'a = "what is held"',
        "def test_whole_days_are_one_step() -> None: ...",
        "def test_a_user_who_may_only_read_gets_somewhat_less() -> None: ...",
        'def f(what: str) -> None:\n    """Do it.\n\n    Args:\n        what: a signature.\n    """',
    ],
)
def test_it_lets_pass_in_code(source: str) -> None:
    assert code_findings(source) == []


def test_long_sentences_are_few() -> None:
    texts = [page.read_text("utf-8") for page in PAGES]
    long, count = (
        sum(len(long_sentences(text)) for text in texts),
        sum(sum(1 for _ in sentences(text)) for text in texts),
    )
    assert long * 200 < count, f"{long} of {count} sentences have more than {MAX_WORDS} words"


@pytest.mark.parametrize(
    "text",
    [
        "What is none is refused.",
        "It is one. What Go has consumed is gone.",
        "A worker\ndoes it. Whoever comes first gets it.",
        "- Who waits for one waits.",
        "| a | whoever has it |",
        "The broker is away.",
        "The scheduler is told of it.",
        "This is no list.",
    ],
)
def test_it_finds(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    [
        "# What it does",
        "What does a worker do?",
        "| Which tasks wait? | `gearmesh pending` |",
        "```\nWhat is none\n```",
        "The value is `none`; it is `away`.",
        "Where both are one server, it is one step.",
    ],
)
def test_it_lets_pass(text: str) -> None:
    assert findings(text) == []


def test_a_long_sentence_is_found_across_lines() -> None:
    text = " ".join(["word"] * 20) + "\n" + " ".join(["word"] * (MAX_WORDS - 19)) + ".\n\nA short one."
    (long,) = long_sentences(text)
    assert (long.line, long.words) == (1, MAX_WORDS + 1)
