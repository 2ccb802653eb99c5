"""Lays out a task's workflow: boxes for signatures and lines between them, which a template draws as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["Box", "Drawing", "Line", "draw"]

#: Number of boxes in one drawing.
MAX_BOXES: Final = 60
#: Number of a group's members in a drawing; the page of the group lists all.
MAX_MEMBERS: Final = 8
BOX_WIDTH: Final = 170
BOX_HEIGHT: Final = 46
GAP_X: Final = 60
GAP_Y: Final = 18
#: Characters of a task's name in a box.
MAX_LABEL_CHARS: Final = 22


class Box(NamedTuple):
    """The box of a signature, or of a remark such as "5 more members" without ``uuid``. ``own``: of the page's task."""

    x: int
    y: int
    uuid: str
    label: str
    state: str
    own: bool


class Line(NamedTuple):
    """A line from one box to another. ``kind``: ``success``, ``error`` or ``chord``."""

    x1: int
    y1: int
    x2: int
    y2: int
    kind: str


class Drawing(NamedTuple):
    """Holds a workflow as boxes and lines, in pixels. ``left_out``: the number of signatures that did not fit."""

    width: int
    height: int
    boxes: list[Box]
    lines: list[Line]
    left_out: int


class _Node:
    """A signature in the tree, before it has a position."""

    def __init__(self, uuid: str, label: str, kind: str = "") -> None:
        self.uuid = uuid
        self.label = label
        self.kind = kind
        self.below: list[_Node] = []


def uuids_of(sig: Signature, group: GroupMeta | None) -> list[str]:
    """The UUIDs whose states a drawing shows."""
    below = [each.UUID for _, each in _first(sig)]
    return [*below, *(group.TaskUUIDs[:MAX_MEMBERS] if group else ())]


def _first(sig: Signature) -> list[tuple[int, Signature]]:
    found = []
    for level, each in sig.walk():
        found.append((level, each))
        if len(found) == MAX_BOXES:
            break
    return found


def draw(sig: Signature, states: Mapping[str, TaskState], group: GroupMeta | None = None) -> Drawing:
    """Lay out a signature, the signatures that follow it, and the other members of its group.

    Args:
        sig: the signature of the page's task.
        states: known states, by UUID.
        group: the task's group; None: it is in no group, or the group is not known.
    """
    root, count = _tree(sig)
    columns: list[list[tuple[_Node, _Node | None]]] = []
    _place(root, None, 0, columns)
    if group is not None:
        _add_members(columns[0], sig, group)
    boxes, lines = _pixels(columns, states, sig.UUID)
    width = len(columns) * (BOX_WIDTH + GAP_X) - GAP_X + 4
    height = max(map(len, columns)) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 4
    total = sum(1 for _ in sig.walk())
    return Drawing(width, height, boxes, lines, total - count)


def _tree(sig: Signature) -> tuple[_Node, int]:
    """The first signatures of a workflow as a tree, and their number."""
    root = _Node(sig.UUID, sig.Name)
    todo: list[tuple[Signature, _Node]] = [(sig, root)]
    count = 1
    for above, node in todo:
        chord = [above.ChordCallback] if above.ChordCallback is not None else []
        for kind, sigs in (("success", above.OnSuccess), ("error", above.OnError), ("chord", chord)):
            for each in sigs or ():
                if each is not None and count < MAX_BOXES:
                    child = _Node(each.UUID, each.Name, kind)
                    node.below.append(child)
                    todo.append((each, child))
                    count += 1
    return root, count


def _place(
    root: _Node, above: _Node | None, level: int, columns: list[list[tuple[_Node, _Node | None]]]
) -> None:
    """Put each node into the column of its level. It is a loop, since recursion would go 60 steps deep or more."""
    todo = [(root, above, level)]
    for node, parent, depth in todo:
        while len(columns) <= depth:
            columns.append([])
        columns[depth].append((node, parent))
        todo += [(child, node, depth + 1) for child in node.below]


def _add_members(column: list[tuple[_Node, _Node | None]], sig: Signature, group: GroupMeta) -> None:
    others = [uuid for uuid in group.TaskUUIDs if uuid != sig.UUID]
    column += [(_Node(uuid, "member"), None) for uuid in others[: MAX_MEMBERS - 1]]
    more = len(others) - (MAX_MEMBERS - 1)
    if more > 0:
        column.append((_Node("", f"{more:,} more members"), None))


def _pixels(
    columns: Sequence[Sequence[tuple[_Node, _Node | None]]], states: Mapping[str, TaskState], own: str
) -> tuple[list[Box], list[Line]]:
    boxes: list[Box] = []
    lines: list[Line] = []
    places: dict[int, tuple[int, int]] = {}
    for at, column in enumerate(columns):
        for row, (node, parent) in enumerate(column):
            x, y = 2 + at * (BOX_WIDTH + GAP_X), 2 + row * (BOX_HEIGHT + GAP_Y)
            places[id(node)] = (x, y)
            state = states.get(node.uuid)
            label = state.TaskName if node.label == "member" and state and state.TaskName else node.label
            short = label if len(label) <= MAX_LABEL_CHARS else label[: MAX_LABEL_CHARS - 1] + "…"
            boxes.append(Box(x, y, node.uuid, short, state.State if state else "", node.uuid == own))
            if parent is not None:
                px, py = places[id(parent)]
                middle = BOX_HEIGHT // 2
                lines.append(Line(px + BOX_WIDTH, py + middle, x, y + middle, node.kind))
    return boxes, lines
