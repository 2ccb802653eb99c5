"""Asks sentinels where the master is."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis import exceptions

from gearmesh.errors import ConfigError
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.urls.addresses import shown_address

__all__ = ["Sentinels"]


class Sentinels:
    """Asks one sentinel after the other, beginning with the one that answered last, over its idle connection.

    Safe in threads, and after a fork.

    Args:
        nodes: their hosts and ports.
        master_name: the name by which they know the master.
        kind: class of the connections to them.
        options: its keyword arguments, without host and port.
    """

    def __init__(
        self, nodes: Sequence[tuple[str, int]], master_name: str, kind: Any, options: dict[str, Any]
    ) -> None:
        self._nodes = list(nodes)
        self._name = master_name
        self._kind = kind
        self._options = options
        self._first = 0
        #: idle connections, each with the id of the process that made it
        self._idle: deque[tuple[int, tuple[str, int], Any]] = deque(maxlen=2)

    def __repr__(self) -> str:
        return f"Sentinels({self._shown()}, {self._name!r})"

    def master(self) -> tuple[str, int]:
        """Return the master's host and port.

        Raises:
            redis.exceptions.ConnectionError: no sentinel answers that knows it.
            ConfigError: all answer, and none knows a master of that name; or one is no sentinel.
        """
        with contextlib.suppress(IndexError, exceptions.RedisError, OSError):
            pid, node, connection = self._idle.pop()
            if pid == os.getpid() and (answer := self._ask(node, connection)):
                return answer[0].decode(), int(answer[1])
        silent: list[str] = []
        first = self._first
        for at in range(first, first + len(self._nodes)):
            host, port = node = self._nodes[at % len(self._nodes)]
            try:
                answer = self._ask(node)
            except exceptions.AuthenticationError as exc:
                raise ConfigError(
                    f"the sentinel {shown_address(host, port)} refuses redis.sentinel_password: {exc}"
                ) from None
            except CONNECTION_ERRORS as exc:
                silent.append(str(exc))
                continue
            except exceptions.NoPermissionError as exc:
                raise ConfigError(
                    f"the sentinel {shown_address(host, port)} does not answer us: {exc}"
                ) from None
            except exceptions.ResponseError as exc:
                raise ConfigError(
                    f"{shown_address(host, port)} is no sentinel, but redis.master_name is {self._name!r}: {exc}"
                ) from None
            if answer:
                self._first = at % len(self._nodes)
                return answer[0].decode(), int(answer[1])
        if silent:
            raise exceptions.ConnectionError(
                f"no sentinel of {self._shown()} tells the master {self._name!r}: {'; '.join(silent)}"
            )
        raise ConfigError(
            f"redis.master_name is {self._name!r}, but no sentinel of {self._shown()} knows a master of that name"
        )

    def _ask(self, node: tuple[str, int], connection: Any = None) -> Any:
        host, port = node
        connection = connection or self._kind(host=host, port=port, **self._options)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            answer = connection.read_response()
        except BaseException:
            with contextlib.suppress(Exception):
                connection.disconnect()
            raise
        self._idle.append((os.getpid(), node, connection))
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[2].disconnect()

    def _shown(self) -> str:
        return ", ".join(f"{shown_address(host, port)}" for host, port in self._nodes)
