"""Checks that the servers can be reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

from gearmesh.cli.checks.base import Case, Finding
from gearmesh.config import Config
from gearmesh.errors import GearmeshError
from gearmesh.locks.registry import open_lock
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.transports.registry import connect
from gearmesh.urls import RedisTarget, parse, redact, redact_text

__all__ = ["backend_answers", "brokers_answer", "lock_answers"]

_ADVICE = (
    "Check that it runs, that this is its address, that no firewall is in the way, and that user, password and "
    "virtual host are right."
)


def brokers_answer(case: Case) -> Iterator[Finding]:
    """Connect to each broker URL. Programs try the URLs in turn, so they would notice a broken one late."""
    config = case.config
    if case.app.eager:
        return
    for url in config.brokers:
        about = f"broker {redact(url)}"
        one = dataclasses.replace(config, broker=url, multiple_broker_separator="")
        yield _answers(about, partial(_connect, one))


def _connect(config: Config) -> None:
    with connect(config) as connection:
        connection.connect()
        connection.channel()


def backend_answers(case: Case) -> Iterator[Finding]:
    """Connect to the result backend."""
    about = f"backend {case.app.masked_backend}"
    if case.config.backend.startswith("null"):
        text = "keeps no results: waiting for one is an error, and chords never fire"
        yield Finding("note", about, text, "Set a result backend if you need results.")
    else:
        yield _answers(about, case.app.check_backend)


def lock_answers(case: Case) -> Iterator[Finding]:
    """Connect to the lock of periodic tasks, if one is set."""
    if case.config.lock is not None:
        yield _answers(f"lock {redact(case.config.lock)}", partial(_ping, case.config.lock, case.config))


def _ping(lock: str, config: Config) -> None:
    open_lock(lock, settings=config.redis)
    target = parse(lock, "lock")
    if isinstance(target, RedisTarget):
        client = ConnectionSettings(target, config.redis).client()
        client.ping()
        hang_up(client)


def _answers(about: str, ask: Callable[[], object]) -> Finding:
    try:
        ask()
    except Exception as exc:
        if isinstance(exc, GearmeshError) and exc.__cause__ is None:
            return Finding("problem", about, redact_text(str(exc)))
        reason = redact_text(str(exc) or type(exc).__name__)
        return Finding("problem", about, f"cannot be reached: {reason}", _ADVICE)
    return Finding("ok", about, "answers")
