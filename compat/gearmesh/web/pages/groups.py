"""Lists the latest groups and chords, and shows one of them with the progress of its members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.messages import cut
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.state_walk import FoundGroup
from gearmesh.web.times import Moment, moment, moment_of_text

__all__ = ["group", "groups"]

#: Number of members whose states are read for the progress on the page of a group.
MAX_COUNTED_MEMBERS: Final = 1000
#: Number of groups on a page. It is small, because the progress of each is read.
PAGE_GROUPS: Final = 20
#: Number of members whose states are read for the progress of a group in the list.
MAX_LISTED_MEMBERS: Final = 100
NO_STATE: Final = "no state"


class GroupProgress(NamedTuple):
    """Counts the members of a group by state. ``counted``: the number of members, from the first on, that were read."""

    states: dict[str, int]
    counted: int
    members: int

    @property
    def ended(self) -> int:
        """The number of members that are SUCCESS or FAILURE."""
        return self.states.get("SUCCESS", 0) + self.states.get("FAILURE", 0)


class GroupRow(NamedTuple):
    """One group in the list of groups; ``progress`` is None if the group has expired."""

    group: FoundGroup
    created: Moment
    progress: GroupProgress | None


def groups(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of the groups that a walk through the states has found, the latest first."""
    values: dict[str, Any] = {
        "walks": desk.states.walks,
        "keeps": desk.states.keeps,
        "states_name": desk.states.name,
        "walk": desk.walk,
        "rows": [],
        "paging": None,
        "total": 0,
    }
    if not desk.states.walks:
        return values
    summary = desk.walk.look()
    latest = summary.latest_groups()
    start = query.number("start")
    part = latest[start : start + PAGE_GROUPS]
    rows = []
    for found in part:
        meta = desk.states.group(found.uuid)
        progress = None if meta is None else _progress(desk, meta.TaskUUIDs, MAX_LISTED_MEMBERS)
        rows.append(GroupRow(found, moment(found.created or None), progress))
    place = paging(query, len(rows), len(latest))
    back = max(0, start - PAGE_GROUPS) if start else None
    return {**values, "rows": rows, "paging": place._replace(before=back), "total": summary.groups}


def _progress(desk: Desk, members: tuple[str, ...], most: int) -> GroupProgress:
    part = members[:most]
    states = desk.states.listed(part)
    told = Counter(states[uuid].State if uuid in states else NO_STATE for uuid in part)
    return GroupProgress(dict(sorted(told.items())), len(part), len(members))


def group(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of one group or chord, with a part of its members."""
    uuid = query.text("id")[:300]
    meta = desk.states.group(uuid) if uuid else None
    members = meta.TaskUUIDs if meta else ()
    start = query.number("start")
    part = members[start : start + PAGE_ROWS]
    states = desk.states.listed(part)
    rows = [(uuid, states.get(uuid)) for uuid in part]
    return {
        "id": uuid,
        "meta": meta,
        "created": moment_of_text(meta.CreatedAt if meta else ""),
        "progress": _progress(desk, members, MAX_COUNTED_MEMBERS) if meta else None,
        "rows": [
            {
                "uuid": member,
                "name": state.TaskName if state else "",
                "state": state.State if state else NO_STATE,
                "error": cut(desk.masker.text(state.Error)) if state else "",
            }
            for member, state in rows
        ],
        "paging": paging(query, len(rows), len(members)),
        "states_name": desk.states.name,
        "keeps": desk.states.keeps,
        "peeks": desk.states.peeks_cheaply,
    }
