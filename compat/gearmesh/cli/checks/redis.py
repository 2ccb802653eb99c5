"""Checks the settings and the clock of a Redis that keeps messages or results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import redis

from gearmesh.cli.checks.base import Case, Finding
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.units import counted
from gearmesh.urls import RedisTarget, parse, redact

__all__ = ["clock", "eviction", "nameless_queue", "persistence"]

#: Seconds of difference between two clocks that make a note, and a problem.
CLOCK_NOTE_S: Final = 1.0
CLOCK_PROBLEM_S: Final = 5.0


def clock(case: Case) -> Iterator[Finding]:
    """Compare the server's clock, by which delayed messages start, with this machine's clock, by which ETAs are set."""
    for _, about, info in _servers(case):
        server = info.get("server_time_usec")
        if server is None:  # before Redis 7, or not allowed
            continue
        ahead = int(server) / 1e6 - info["local_time"]
        if abs(ahead) < CLOCK_NOTE_S:
            continue
        side = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            "problem" if abs(ahead) >= CLOCK_PROBLEM_S else "note",
            about,
            f"its clock is {abs(ahead):.1f} s {side} this machine's: delayed tasks start by its clock",
            "Synchronise both clocks, with NTP for example.",
        )


def eviction(case: Case) -> Iterator[Finding]:
    """Find a Redis that drops messages, leases or results when it is full."""
    for role, about, info in _servers(case):
        policy = str(info.get("maxmemory_policy", "noeviction"))
        limit = int(info.get("maxmemory", 0))
        if policy == "noeviction":
            continue
        volatile = policy.startswith("volatile")
        lost = "waiting messages, messages that workers hold, and results"
        if volatile:
            lost = "results, revocations and the marks that keep a message from being sent twice"
        if not limit:
            text = f"maxmemory-policy is {policy}; it has no effect while maxmemory is 0"
            yield Finding("note", about, text, f"With a limit it may drop {lost}. {_NOEVICTION}")
        else:
            bad = role == "broker" or not volatile
            text = f"maxmemory-policy is {policy}: when the server is full it drops {lost}"
            yield Finding("problem" if bad else "note", about, text, _NOEVICTION)


_NOEVICTION = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf."


def persistence(case: Case) -> Iterator[Finding]:
    """Find a broker that keeps nothing on disk, and so loses all messages when it restarts."""
    for role, about, info in _servers(case):
        if role == "broker" and not int(info.get("aof_enabled", 1)) and not info.get("saves", True):
            yield Finding(
                "note",
                about,
                "keeps nothing on disk: a restart loses all messages",
                "CONFIG SET appendonly yes, and the same in redis.conf; or accept the risk.",
            )


def nameless_queue(case: Case) -> Iterator[Finding]:
    """Find messages in the list with the empty name. Go sends there if it has no RoutingKey and no DefaultQueue."""
    for url in case.config.brokers:
        target = parse(url, "broker")
        if not isinstance(target, RedisTarget):
            continue
        client = ConnectionSettings(target, case.config.redis).client()
        try:
            count = int(client.llen(""))
        except redis.ResponseError:  # the key is not a list, or this user may not read it
            continue
        except CONNECTION_ERRORS:  # a check in servers.py reports it
            continue
        finally:
            hang_up(client)
        if count:
            yield Finding(
                "problem",
                f"broker {redact(url)}",
                f"has {counted(count, 'message')} in the list with the empty name, which no worker reads: "
                "the sender has set no RoutingKey, and has no DefaultQueue",
                "Set RoutingKey in the Go code. redis-cli LRANGE '' 0 9 shows the messages, "
                "and RENAMENX '' QUEUE moves them to an empty queue.",
            )


def _servers(case: Case) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield role, name and INFO of each Redis that answers; a server with both roles counts as the broker."""
    config = case.config
    seen = set()
    for role, url in (*(("broker", url) for url in config.brokers), ("backend", config.backend)):
        target = parse(url, "broker" if role == "broker" else "backend")
        if not isinstance(target, RedisTarget) or (target.nodes, target.path) in seen:
            continue
        seen.add((target.nodes, target.path))
        client = ConnectionSettings(target, config.redis).client()
        info: dict[str, Any] = {"saves": True}
        try:
            began = time.time()
            info |= client.info()
            info["local_time"] = (began + time.time()) / 2
            info["saves"] = client.config_get("save").get("save", "")
        except redis.ResponseError:  # this user may not read INFO or CONFIG
            pass
        except CONNECTION_ERRORS:  # a check in servers.py reports it
            continue
        finally:
            hang_up(client)
        yield role, f"{role} {redact(url)}", info
