"""``gearmesh explain``: describe captured bytes in words, or tell the story of a task."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Final

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, need_results, servers
from gearmesh.cli.ids import full_ids
from gearmesh.cli.output import note
from gearmesh.explain.lookup import look_up
from gearmesh.explain.story import story_of
from gearmesh.explain.text import explain as explained
from gearmesh.urls import scheme_of

__all__ = ["explain"]

_UUID: Final = re.compile(r"(task|group|chord)_[0-9a-f-]{4,}")
#: The first characters of a message, a state or a list of them. If a file has such a name, the command reads the file.
_DOCUMENT_STARTS: Final = ("{", "[")
#: Characters of an argument that an error shows.
MAX_SHOWN_CHARS: Final = 60
#: Bytes of an input. A longer input is hardly a message, and reading it would take minutes.
MAX_INPUT_BYTES: Final = 32 * 1024 * 1024


@click.command()
@words("what", "[FILE|-|MESSAGE|UUID]", most=1)
@servers
def explain(what: tuple[str, ...], place: Place) -> None:
    """Describe data of Machinery in words: a message, a task state, a group's meta, a dump of a queue (of redis-cli,
    MONITOR, RabbitMQ's management page, SQS, --json), or lines of a Go worker's log. The description names the workflow
    to which it belongs, how Go and how Python handle it, and its faults with their bytes. Without FILE, or with -, the
    command reads standard input. An argument that begins with { or [ is the message itself.

    With a UUID, look the task, group or chord up in broker and backend (-A, --broker, --backend), and tell where it is
    and how far its workflow has come. --queue names a further queue to look into.

    The exit code is 1 if the input is wrong or empty, or if neither broker nor backend knows the UUID.
    """
    word = what[0] if what else "-"
    if word == "-" or os.path.exists(word):  # False for a text that is too long for a file's name, too
        data = _input(word)
    elif word.lstrip().startswith(_DOCUMENT_STARTS):
        data = os.fsencode(word)
    elif _UUID.fullmatch(word) or place.spec or place.broker:
        sys.exit(_tell(word, place))
    else:
        data = _input(word)
    if word == "-" and not data.strip():
        note("The input is empty: is the queue empty?", "yellow")
        sys.exit(1)
    text, faults = explained(data)
    click.echo(text, nl=False)
    sys.exit(faults > 0)


def _input(word: str) -> bytes:
    if word == "-":
        if sys.stdin.isatty():
            click.echo("reading from the terminal; end with Ctrl-D", err=True)
        data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    else:
        try:
            with open(word, "rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
        except OSError as exc:
            hint = "" if "/" in word or "." in word else "; to look up a UUID, name the app: -A MODULE:APP"
            shown = word if len(word) <= MAX_SHOWN_CHARS else word[:MAX_SHOWN_CHARS] + "…"
            raise click.UsageError(f"cannot read {shown!r}: {exc.strerror}{hint}") from None
    if len(data) > MAX_INPUT_BYTES:
        raise click.UsageError(
            f"the input is longer than {MAX_INPUT_BYTES // 1024**2} MiB: cut a part out of it"
        )
    return data


def _tell(uuid: str, place: Place) -> bool:
    """Print the story of a UUID; True if neither broker nor backend knows it."""
    with place.app() if place.spec or place.broker or not place.backend else place.results_app() as app:
        if scheme_of(app.config.brokers[0]) == "eager":
            need_results(app)
        full = full_ids(app, [uuid])[0] if app.keeps_results else uuid
        story, known = story_of(look_up(app, full, place.queues(())), time.time_ns())
    click.echo(story, nl=False)
    return not known
