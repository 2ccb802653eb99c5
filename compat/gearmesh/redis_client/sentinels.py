"""Asks sentinels where the master is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis import exceptions

from gearmesh.errors import ConfigError
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.urls.addresses import shown_address

__all__ = ["Sentinels"]


class Sentinels:
    """Asks one sentinel after the other, beginning with the one that answered last, over connections that it keeps.

    Safe in threads, and after a fork.

    Args:
        nodes: hosts and ports of the sentinels.
        master_name: the name by which the sentinels know the master.
        kind: class of the connections to sentinels.
        options: keyword arguments of this class, without host and port.
    """

    def __init__(
        self, nodes: Sequence[tuple[str, int]], master_name: str, kind: Any, options: dict[str, Any]
    ) -> None:
        self._name = master_name
        self._addresses = [shown_address(host, port) for host, port in nodes]
        pools = [
            redis.ConnectionPool(connection_class=kind, host=host, port=port, **options)
            for host, port in nodes
        ]
        self._clients = [redis.Redis(connection_pool=pool) for pool in pools]
        self._first = 0

    def __repr__(self) -> str:
        return f"Sentinels({self._shown()}, {self._name!r})"

    def master(self) -> tuple[str, int]:
        """Return the master's host and port.

        Raises:
            redis.exceptions.ConnectionError: no sentinel that knows the master answers.
            ConfigError: all sentinels answer, and none knows a master of that name; or a server is no sentinel, or
                refuses the password or the command.
        """
        silent: list[str] = []
        first = self._first
        for at in [*range(first, len(self._clients)), *range(first)]:
            try:
                answer = self._clients[at].execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._name)
            except exceptions.AuthenticationError as exc:
                raise ConfigError(
                    f"the sentinel {self._addresses[at]} refuses redis.sentinel_password: {exc}"
                ) from None
            except CONNECTION_ERRORS as exc:
                silent.append(str(exc))
                continue
            except exceptions.NoPermissionError as exc:
                raise ConfigError(f"the sentinel {self._addresses[at]} refuses the command: {exc}") from None
            except exceptions.ResponseError as exc:
                raise ConfigError(
                    f"{self._addresses[at]} is no sentinel, but redis.master_name is {self._name!r}: {exc}"
                ) from None
            if answer:
                self._first = at
                host, port = answer
                return host.decode(), int(port)
        if silent:
            raise exceptions.ConnectionError(
                f"no sentinel of {self._shown()} names the master {self._name!r}: {'; '.join(silent)}"
            )
        raise ConfigError(
            f"redis.master_name is {self._name!r}, but no sentinel of {self._shown()} knows a master of that name"
        )

    def _shown(self) -> str:
        return ", ".join(self._addresses)
