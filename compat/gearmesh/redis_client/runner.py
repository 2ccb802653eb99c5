"""Runs the scripts of ``lua/``, and loads a script that the server does not know."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

from redis import exceptions

from gearmesh.redis_client.cluster import Cluster
from gearmesh.redis_client.wrong_type import TypeCheckingRedis, named

__all__ = ["run", "run_each", "run_in_turn", "source"]

T = TypeVar("T")

#: The types of the scripts' keys, in their order.
KEY_TYPES: Final = {
    "beat": ("hash",),
    "call": ("list", "string"),
    "dead": ("zset", "list"),
    "due": ("zset",),
    "fetch": ("list", "hash", "list", "hash", "hash", "string"),
    "lock": ("string", "string"),
    "move": ("zset",),
    "publish": ("list", "string"),
    "purge": ("list", "zset"),
    "recover": ("list", "hash", "list", "hash", "hash"),
    "release": ("string",),
    "return_aside": ("zset", "list", "hash", "string", "hash"),
    "revoke": ("zset",),
    "rewrite": ("string",),
    "settle": ("hash",),
    "take_due": ("zset", "hash"),
    "watch": ("hash", "hash"),
}


@cache
def source(name: str) -> tuple[str, str]:
    """Return a script's text and its SHA-1."""
    text = (resources.files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(client: Any, name: str, keys: list[Any], args: list[Any]) -> Any:
    """Run script ``name``, over connections of :mod:`.connections`.

    In a cluster, all keys that it uses are in the slot of the first.

    Raises:
        ServerUnable: the server's condition forbids it; nothing was done.
        WrongType: a key is of another type.
        redis.exceptions.ResponseError: any other error of the script or its keys.
    """
    text, sha = source(name)
    # The class first, since isinstance(client, Cluster) checks redis-py's protocols, which takes longer than the call.
    kept = type(client) is TypeCheckingRedis
    if not kept and isinstance(client, Cluster) and (guard := client.guard(keys[0])) is not None:
        keys = [*keys, guard]
    ask = client.ask if kept else client.execute_command
    try:
        try:
            return ask("EVALSHA", sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return ask("EVAL", text, len(keys), *keys, *args)
    except exceptions.ResponseError as exc:
        raise named(client, exc, zip(keys, KEY_TYPES.get(name, ()), strict=False)) from exc


def run_in_turn(
    client: Any, name: str, keys: list[Any], parts: Sequence[T], arguments: Callable[[T], list[Any]]
) -> None:
    """Run script ``name`` for each of ``parts``, with ``arguments(part)``. The script must be safe to run twice.

    If the client owns its connection, send each call while the server works on the one before.

    Raises:
        ServerUnable: the server's condition forbids it; calls before that were carried out.
        redis.exceptions.ResponseError: any other error of the script or its keys.
    """
    if parts:  # this also loads the script, if the server lacks it
        run(client, name, keys, arguments(parts[0]))
    rest = parts[1:]
    if rest and type(client) is TypeCheckingRedis:
        sha = source(name)[1]
        with contextlib.suppress(exceptions.NoScriptError):  # the server has lost the script
            calls = (("EVALSHA", sha, len(keys), *keys, *arguments(part)) for part in rest)
            client.ask_each(calls, lambda answer: None)
            return
    for part in rest:
        run(client, name, keys, arguments(part))


def run_each(client: Any, name: str, calls: Iterable[tuple[Any, list[Any]]], **how: Any) -> list[Any]:
    """Run script ``name``, which has one key, for each (key, arguments), in one round trip, and return the answers.

    Raises the errors of :func:`run`, after it has tried all calls. ``how``: keyword arguments of the pipeline's
    ``execute``.
    """
    text, sha = source(name)
    calls = list(calls)
    with client.pipeline(transaction=False) as pipe:
        for key, args in calls:
            pipe.execute_command("EVALSHA", sha, 1, key, *args)
        answers: list[Any] = pipe.execute(raise_on_error=False, **how)
    error: Exception | None = None
    for i, (key, args) in enumerate(calls):
        try:
            if isinstance(answers[i], exceptions.NoScriptError):
                answers[i] = client.execute_command("EVAL", text, 1, key, *args)
            elif isinstance(answers[i], Exception):
                raise answers[i]
        except exceptions.ResponseError as exc:
            error = error or named(client, exc, zip([key], KEY_TYPES.get(name, ()), strict=False))
        except Exception as exc:  # the other calls still run
            error = error or exc
    if error is not None:
        raise error
    return answers
