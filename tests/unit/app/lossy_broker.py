"""A broker in this process that loses requests or answers on demand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature

__all__ = ["Broker"]


class Broker:
    """A broker that can lose a request, or its answer."""

    def __init__(self, *, atomic: bool) -> None:
        self.atomic = atomic
        self.trouble: list[str] = []
        self.tokens: dict[str, int] = {}
        self.pushed: list[Signature] = []
        self.batches: list[tuple[Token | None, int]] = []
        self.opened = self.closed = 0
        self.backend: Any = None
        self.lock = threading.Lock()

    def connect(self, url: str, **kwargs: Any) -> Connection:
        return Connection(self)

    def commit(self, commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        with self.lock:
            trouble = self.trouble.pop(0) if self.trouble else ""
            if trouble == "broken":
                raise ValueError("no such command")
            if trouble == "lost call":
                raise ConnectionResetError("reset")
            self.batches.append((token, len(commits)))
            assert token is not None
            if self.tokens.get(token.producer) != token.seq:
                self.tokens[token.producer] = token.seq
                for commit in commits:
                    if self.atomic:
                        self.backend.write(commit.states)
                    self.pushed += [decode(publish.body) for publish in commit.publishes]
            if trouble == "lost reply":
                raise ConnectionResetError("reset")
            return ["done"] * len(commits)


class Connection:
    connection_errors = (ConnectionError,)

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def channel(self) -> Connection:
        if self.broker.trouble[:1] == ["refused"]:
            self.broker.trouble.pop(0)
            raise ConnectionRefusedError("refused")
        self.broker.opened += 1
        return self

    def close(self) -> None:
        self.broker.closed += 1

    def enlist(self, backend: Any) -> bool:
        self.broker.backend = backend
        return self.broker.atomic

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        return self.broker.commit(commits, token)
