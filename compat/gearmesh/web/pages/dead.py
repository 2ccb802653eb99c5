"""Shows the dead letters of a queue, searches them, and retries or deletes them one by one or in bulk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from gearmesh.app.unique import release_claims
from gearmesh.inspection.dead_letters import begin_anew
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.masking import Masker
from gearmesh.web.messages import MessageRow, cut, message_row
from gearmesh.web.pages.action import Done, Refused
from gearmesh.web.pages.ages import AGE_TEXTS
from gearmesh.web.pages.letter_filter import LetterFilter
from gearmesh.web.pages.overview import rows_of
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.times import Moment, moment_of_unix

__all__ = ["confirm", "dead", "take"]

#: Number of dead letters of one read, in a search and in an action.
BATCH_LETTERS: Final = 500
#: Seconds after which one view of a search stops reading.
SEARCH_BUDGET_S: Final = 0.15
#: Number of dead letters that one view of a search reads, and that an action reads.
MAX_SEARCHED_LETTERS: Final = 5000
MAX_TAKEN_LETTERS: Final = 100_000
#: A broker without pages delivers all dead letters to show one. If a queue has more than these, the page shows none.
MAX_DELIVERED_LETTERS: Final = 1000
#: Queues in the list of queues with dead letters.
MAX_LISTED_QUEUES: Final = 50


class LetterRow(NamedTuple):
    """A dead letter in the list."""

    id: str
    message: MessageRow
    reason: str
    times: int
    last: Moment


def dead(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of the dead letters of one queue, with a list of the queues that have dead letters."""
    abilities = desk.broker.abilities()
    names = desk.directory.first(MAX_LISTED_QUEUES)
    with_dead = [row.counts for row in rows_of(desk, names, with_states=False) if row.counts.dead]
    first = with_dead[0].queue if with_dead else desk.app.default_queue
    name = query.exact("queue") or first
    total = next((each.dead for each in with_dead if each.queue == name), None)
    if total is None:
        total = rows_of(desk, [name], with_states=False)[0].counts.dead
    wanted, start = LetterFilter.of(query), query.number("start")
    hidden = not abilities.pages and (total or 0) > MAX_DELIVERED_LETTERS
    letters: list[DeadLetter] = []
    looked_at = 0
    if not hidden and total:
        letters, looked_at = desk.broker.ask(
            ("dead", name, wanted, start),
            lambda channel: (
                _search(channel, name, partial(wanted.fits, masker=desk.masker), start, abilities.pages)
                if any(wanted)
                else _first(channel, name, start, abilities.pages)
            ),
        )
    shown = [_row(desk, each) for each in letters]
    return {
        "queue": name,
        "queues": with_dead,
        "total": total,
        "wanted": wanted,
        "ages": AGE_TEXTS,
        "hidden": hidden,
        "uncounted": total is None,
        "cut": len(desk.directory.names()) > MAX_LISTED_QUEUES,
        "listed": MAX_LISTED_QUEUES,
        "most": MAX_DELIVERED_LETTERS,
        "abilities": abilities,
        "rows": shown,
        "looked_at": looked_at,
        "searched_all": not any(wanted) or looked_at >= (total or 0),
        "paging": paging(query, len(shown), None if any(wanted) else total),
        "retried": query.number("retried", -1),
        "dropped": query.number("dropped", -1),
    }


def _row(desk: Desk, letter: DeadLetter) -> LetterRow:
    row = message_row(letter.body, desk.masker)
    reason = cut(desk.masker.text(letter.reason), 400)
    return LetterRow(letter.id, row, reason, letter.count, moment_of_unix(letter.last))


def _first(channel: Any, name: str, start: int, pages: bool) -> tuple[list[DeadLetter], int]:
    """Read the dead letters from a position on; returns them and the number that was read."""
    if pages:
        return channel.dead_page(name, start, PAGE_ROWS), PAGE_ROWS
    letters = channel.dead_letters(name, MAX_DELIVERED_LETTERS)
    return letters[start : start + PAGE_ROWS], len(letters)


def _search(
    channel: Any, name: str, fits: Callable[[DeadLetter], bool], start: int, pages: bool
) -> tuple[list[DeadLetter], int]:
    """Search the dead letters that fit; returns them without the first ``start``, and the number that was read."""
    if not pages:
        letters = channel.dead_letters(name, MAX_DELIVERED_LETTERS)
        return [each for each in letters if fits(each)][start : start + PAGE_ROWS], len(letters)
    found: list[DeadLetter] = []
    skipped = looked_at = 0
    until = time.monotonic() + SEARCH_BUDGET_S
    while looked_at < MAX_SEARCHED_LETTERS and len(found) < PAGE_ROWS and time.monotonic() < until:
        part = channel.dead_page(name, looked_at, BATCH_LETTERS)
        for letter in part:
            if fits(letter):
                skipped += 1
                if skipped > start:
                    found.append(letter)
        looked_at += len(part)
        if len(part) < BATCH_LETTERS:
            break
    return found[:PAGE_ROWS], looked_at


class _Choice(NamedTuple):
    """The dead letters that a form chooses: by ids, by the conditions of a filter, or all of the queue's."""

    queue: str
    ids: frozenset[str]
    wanted: LetterFilter
    everything: bool
    retry: bool

    def has(self, letter: DeadLetter, masker: Masker) -> bool:
        return (
            self.everything
            or letter.id in self.ids
            or (any(self.wanted) and self.wanted.fits(letter, masker))
        )


def _choice(form: Fields) -> _Choice:
    how = form.text("how")
    scope = form.text("scope")
    if how not in ("retry", "drop"):
        raise Refused(f"how is {how!r}, expected retry or drop")
    choice = _Choice(
        form.exact("queue"),
        frozenset(form.all("id")) if scope not in ("filter", "all") else frozenset(),
        LetterFilter.of(form) if scope == "filter" else LetterFilter(),
        scope == "all",
        how == "retry",
    )
    if not choice.queue:
        raise Refused("no queue is named")
    if not (choice.ids or any(choice.wanted) or choice.everything):
        raise Refused("no dead letters are chosen: tick some, or choose all that fit the filter")
    return choice


def _count(desk: Desk, choice: _Choice) -> int:
    """Count the chosen dead letters, for the question to the user."""
    if choice.ids:
        return len(choice.ids)
    if choice.everything:
        count = desk.broker.change(lambda channel: channel.count(choice.queue).dead)
        return int(count or 0)
    parts = desk.broker.change(
        lambda channel: [len(part) for part in _chosen(channel, choice, desk.masker, removes=False)]
    )
    return sum(parts)


def _chosen(
    channel: Any, choice: _Choice, masker: Masker, *, removes: bool
) -> Iterator[Sequence[DeadLetter]]:
    """Yield the chosen dead letters in parts. ``removes``: the caller removes a part before it takes the next one."""
    if not hasattr(channel, "dead_page"):
        letters = [
            each for each in channel.dead_letters(choice.queue, MAX_TAKEN_LETTERS) if choice.has(each, masker)
        ]
        size = channel.dead_batch
        for start in range(0, len(letters), size):
            yield letters[start : start + size]
        return
    there = channel.count(choice.queue).dead or 0
    start = looked_at = 0
    while looked_at < min(there, MAX_TAKEN_LETTERS):
        part = channel.dead_page(choice.queue, start, BATCH_LETTERS)
        if not part:
            return
        # A letter that is retried and dies again comes to the end of the list, after all that were there at first.
        chosen = [each for each in part[: there - looked_at] if choice.has(each, masker)]
        looked_at += len(part)
        if chosen:
            yield chosen
        start += len(part) - (len(chosen) if removes else 0)


def confirm(desk: Desk, form: Fields) -> Mapping[str, Any]:
    """Ask the user, with the count, before dead letters are retried or deleted. Raises Refused if none are chosen."""
    choice = _choice(form)
    return {
        "template": "confirm",
        "choice": choice,
        "age_texts": dict(AGE_TEXTS),
        "ids": sorted(choice.ids),
        "scope": form.text("scope"),
        "count": _count(desk, choice),
    }


def take(desk: Desk, form: Fields) -> Done:
    """Return dead letters to their queue, or delete them. Raises Refused if none are chosen."""
    choice = _choice(form)

    def act(channel: Any) -> int:
        taken = 0
        for part in _chosen(channel, choice, desk.masker, removes=True):
            if choice.retry:
                begin_anew(desk.app, part)
            taken += channel.take_dead(choice.queue, [each.id for each in part], retry=choice.retry)
            if not choice.retry and desk.states.keeps:
                with desk.app.reached_backend() as backend:
                    release_claims(backend, [each.body for each in part])
        return taken

    count = desk.broker.change(act)
    said = "retried" if choice.retry else "dropped"
    which = (
        "all"
        if choice.everything
        else " ".join(f"{name}={value!r}" for name, value in choice.wanted._asdict().items() if value)
        if any(choice.wanted)
        else f"ids={len(choice.ids)}"
    )
    return Done(
        "/dead",
        f"{said} dead letters queue={choice.queue!r} count={count} chosen by {which}",
        {"queue": choice.queue, said: str(count)},
    )
