"""Draws the follow-up tasks of a message as a tree: chains, chords and error callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gearmesh.explain.values import show_value
from gearmesh.wire.signature import Signature

__all__ = ["call_text", "draw", "why_never"]

#: Lines of a tree; a chain may have thousands of steps.
MAX_TREE_LINES: Final = 40
#: Arguments of one call that are shown.
MAX_SHOWN_ARGS: Final = 6


class _Branch(NamedTuple):
    """One signature of the tree: the words before its call, and in words the arguments that it gets from its parent."""

    sig: Signature | None
    when: str
    added: str
    #: True: the added arguments come before its own.
    first: bool = False


def call_text(sig: Signature, added: str = "", *, first: bool = False) -> str:
    """Write a call as ``add(int64 1)``. ``added``: arguments that it gets later, in words; ``first``: at the front."""
    args = [f"{arg.Type or '(no type)'} {show_value(arg.Value)}" for arg in (sig.Args or ())[:MAX_SHOWN_ARGS]]
    if len(sig.Args or ()) > MAX_SHOWN_ARGS:
        args.append(f"… {len(sig.Args or ()) - MAX_SHOWN_ARGS} more")
    if added:
        args.insert(0 if first else len(args), f"+ {added}")
    return f"{sig.Name or '(no name)'}({', '.join(args)})"


def why_never(sig: Signature) -> str:
    """Return the reason why a message's ChordCallback is never sent; ``""`` if it may be sent, or if there is none."""
    if sig.ChordCallback is None:
        return ""
    if not sig.GroupUUID:
        return "GroupUUID is empty"
    return f"GroupTaskCount is {sig.GroupTaskCount}" if sig.GroupTaskCount <= 0 else ""


def draw(sig: Signature, states: Mapping[str, str] | None = None) -> list[str]:
    """Draw the tree of a signature and its follow-up tasks, one line each, parents first.

    Args:
        sig: the message.
        states: by UUID, the states to show behind the tasks.
    """
    lines: list[str] = []
    left_out = 0
    # (branch, indentation of its own line, indentation of the lines of its children)
    todo: list[tuple[_Branch, str, str]] = [(_Branch(sig, "", ""), "", "")]
    while todo:
        branch, head, below = todo.pop()
        if len(lines) >= MAX_TREE_LINES:
            left_out += 1 if branch.sig is None else sum(1 for _ in branch.sig.walk())
            continue
        lines.append(head + branch.when + _one(branch, states or {}))
        children = _below(branch.sig) if branch.sig is not None else []
        for index in range(len(children) - 1, -1, -1):
            last = index == len(children) - 1
            todo.append(
                (children[index], below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))
            )
    if left_out:
        lines.append(f"… and {left_out:,} more")
    return lines


def _one(branch: _Branch, states: Mapping[str, str]) -> str:
    if branch.sig is None:
        return "null"
    text = call_text(branch.sig, branch.added, first=branch.first)
    uuid = branch.sig.UUID
    return "   ".join(filter(None, (text, uuid, states.get(uuid, ""))))


def _below(sig: Signature) -> list[_Branch]:
    results = "" if sig.Immutable else f"the results of {sig.Name or 'the step before'}"
    found = [_Branch(one, "then ", results) for one in sig.OnSuccess or ()]
    found += [_Branch(one, "on failure ", "the error's text", True) for one in sig.OnError or ()]
    callback = sig.ChordCallback
    if callback is not None:
        never = why_never(sig)
        members = {1: "the one member has", 2: "both members have"}.get(
            sig.GroupTaskCount, f"all {sig.GroupTaskCount} members have"
        )
        found.append(
            _Branch(
                callback,
                f"never, since {never}: " if never else f"when {members} succeeded: ",
                "" if callback.Immutable or never else "the results of all",
            )
        )
    return found
