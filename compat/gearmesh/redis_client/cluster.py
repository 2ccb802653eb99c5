"""A client for a Redis cluster: each command goes to the node that has its key.

redis-py's own cluster client repeats commands by itself. That must not happen here: a fetch that is repeated under the
same numbers overwrites the deliveries of the first one, and a caller has to learn that an outcome is unknown.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import redis
from redis import commands, exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from gearmesh.errors import ConfigError
from gearmesh.redis_client.connections import CONNECTION_ERRORS, ServerUnable
from gearmesh.redis_client.wrong_type import TypeCheckingRedis
from gearmesh.urls.addresses import shown_address
from gearmesh.wire.names import absent

#: redis-py's commands as methods. It is Any, since their type hints accept only redis-py's own clients.
CoreCommands: Any = commands.CoreCommands

__all__ = ["Address", "Cluster", "read_slots", "slot_of"]

Address = tuple[str, int]

#: A command fails after it has followed this many redirections.
MAX_REDIRECTIONS: Final = 8
#: Seconds after which the client asks the cluster again for the node of a slot that had none.
SLOT_REFRESH_INTERVAL_S: Final = 0.2
#: Commands without a key, which any master carries out.
_KEYLESS: Final = frozenset(
    ("PING", "TIME", "INFO", "PUBLISH", "SCRIPT LOAD", "SCRIPT FLUSH", "CLUSTER SLOTS")
)


def slot_of(key: str | bytes) -> int:
    """Return the number of a key's slot."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def _key_of(args: Sequence[Any]) -> Any:
    name = args[0]
    if name in ("EVALSHA", "EVAL"):
        return args[3] if int(args[2]) else None
    return None if name in _KEYLESS or len(args) < 2 else args[1]


class Cluster(CoreCommands):  # type: ignore[misc]
    """Sends each command to the node of its key, as ``redis.Redis`` does to its one server.

    Every command has one key, or several of one slot; the client splits MGET and UNLINK. A pipeline is no transaction.
    The client asks the nodes for the slots at first, after a redirection, and after a connection error.

    Args:
        seeds: hosts and ports of some nodes.
        options: keyword arguments of a pool, without host and port.
        kept: keep one connection to each node, for one thread; False: use pools, for any number of threads.
    """

    def __init__(self, seeds: Iterable[Address], options: dict[str, Any], *, kept: bool = False) -> None:
        self._seeds = tuple(seeds)
        self._options = options
        self._kept = kept
        self._lock = threading.Lock()
        self._slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._nodes: dict[Address, Any] = {}
        #: True: this client does not know the slots yet, or they have probably changed since it asked for them
        self.stale = True
        #: the time of the last answer about slots, by the monotonic clock
        self._learned = 0.0

    # -- slots and nodes

    def address(self, key: str | bytes) -> Address:
        """Return the node that has ``key``. Raises ServerUnable while no node has its slot."""
        if self.stale:
            self.refresh()
        slot = slot_of(key)
        found = self._slots[slot]
        if found is None:
            self.stale = time.monotonic() - self._learned > SLOT_REFRESH_INTERVAL_S
            raise ServerUnable(f"no node of the cluster has slot {slot} now")
        return found

    def node(self, key: str | bytes) -> Any:
        """Return a client of the node that has ``key``."""
        return self.client(self.address(key))

    def masters(self) -> list[Address]:
        """Return all nodes that have slots."""
        if self.stale:
            self.refresh()
        return sorted({address for address in self._slots if address is not None})

    def client(self, address: Address) -> Any:
        """Return a client of one node; the same one for the same address."""
        with self._lock:
            node = self._nodes.get(address)
            if node is None:
                node = self._nodes[address] = self._make(address, self._kept)
        return node

    def refresh(self) -> None:
        """Ask the known nodes, and then those of the URL, for the slots until one answers.

        Raises:
            redis.exceptions.ConnectionError: no node answers.
            ConfigError: a server is no node of a cluster.
        """
        error = ""
        for address in dict.fromkeys([*random.sample(list(self._nodes), len(self._nodes)), *self._seeds]):
            try:
                with contextlib.closing(self._make(address, False)) as client:
                    table = read_slots(client.execute_command("CLUSTER SLOTS"), address)
            except CONNECTION_ERRORS as exc:
                error = str(exc)
                continue
            except exceptions.ResponseError as exc:
                raise _no_cluster(address, exc) from None
            with self._lock:
                self._slots = table
                self._learned = time.monotonic()
                self.stale = False
                gone = [self._nodes.pop(address) for address in set(self._nodes) - set(table)]
            for node in gone:
                node.connection_pool.disconnect(inuse_connections=self._kept)
            return
        raise exceptions.ConnectionError(f"no node of the cluster answers: {error}")

    def guard(self, key: str | bytes) -> str | None:
        """Return a key to name beside ``key`` in a script's call, so that Redis refuses the call while the slot moves.

        A script may use keys that its call does not name, and it fails in the middle at the first one that has moved.
        While a slot moves, Redis refuses a call that names several of its keys if one of them does not exist.
        """
        try:
            return absent(key if isinstance(key, str) else key.decode())
        except (ConfigError, UnicodeDecodeError):  # no queue; Machinery's keys are used one at a time
            return None

    # -- commands

    def execute_command(self, *args: Any, **options: Any) -> Any:
        key = _key_of(args)
        address = self.address(key) if key is not None else random.choice(self.masters() or [None])
        asking = False
        for _ in range(MAX_REDIRECTIONS):
            if address is None:
                break
            try:
                node = self.client(address)
                if not asking:
                    return node.execute_command(*args, **options)
                with node.pipeline(transaction=False) as pipe:
                    pipe.execute_command("ASKING")
                    pipe.execute_command(*args, **options)
                    return pipe.execute()[1]
            except exceptions.AskError as exc:
                asking = not isinstance(exc, exceptions.MovedError)
                address = self._sent_to(exc, address)
            except CONNECTION_ERRORS:
                self.stale = True
                raise
        self.stale = True
        raise ServerUnable("the nodes of the cluster do not agree now which of them has a slot")

    def _sent_to(self, exc: exceptions.AskError, asked: Address) -> Address:
        """Return the node to which a redirection points. A node that does not know its name leaves the host out."""
        address = (exc.host or asked[0], exc.port)
        if isinstance(exc, exceptions.MovedError):
            self._slots[exc.slot_id] = address
            self.stale = True  # other slots have probably moved, too
        return address

    def mget(self, keys: Iterable[Any]) -> Any:
        with self.pipeline() as pipe:
            for key in keys:
                pipe.get(key)
            return pipe.execute()

    def unlink(self, *names: Any) -> Any:
        with self.pipeline() as pipe:
            for name in names:
                pipe.unlink(name)
            return sum(pipe.execute())

    def scan_iter(self, *args: Any, **options: Any) -> Iterator[Any]:
        for address in self.masters():
            yield from self.client(address).scan_iter(*args, **options)

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> Pipeline:
        """Return a pipeline that sends each node its commands together; never a transaction."""
        return Pipeline(self)

    def pubsub(self, **options: Any) -> Any:
        """Return a subscription through any node: Redis gives published messages to all of them."""
        return self._make(random.choice(self.masters() or list(self._seeds)), False).pubsub(**options)

    # -- sockets

    def close(self) -> None:
        """Close the connections that no thread uses now; the next command opens new ones."""
        with self._lock:
            nodes, self._nodes = list(self._nodes.values()), {}
        for node in nodes:
            with contextlib.suppress(*CONNECTION_ERRORS):
                node.connection_pool.disconnect(inuse_connections=self._kept)

    def _make(self, address: Address, kept: bool) -> Any:
        host, port = address
        pool = redis.ConnectionPool(**{**self._options, "host": host, "port": port})
        return TypeCheckingRedis(connection_pool=pool, single_connection_client=kept)


class Pipeline(CoreCommands):  # type: ignore[misc]
    """Collects commands for several nodes of a Redis cluster. A context manager, as redis-py's is."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *args: object) -> None:
        self._commands = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self._commands.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True, *, partly: bool = False) -> list[Any]:
        """Send all commands, and return the answers in their order.

        If a node can't be reached, the others still carry out their commands. The error is raised at the end; with
        ``partly``, only if no node could be reached.
        """
        todo, self._commands = self._commands, []
        results: list[Any] = [None] * len(todo)
        error: BaseException | None = None
        reached = 0
        masters = self._cluster.masters()  # raises if no node answers, also with ``partly``
        places: dict[Address, list[int]] = {}
        for i, (args, _) in enumerate(todo):
            key = _key_of(args)
            try:
                where = masters[0] if key is None else self._cluster.address(key)
            except CONNECTION_ERRORS as exc:
                error = error or exc
                continue
            places.setdefault(where, []).append(i)
        for address, indexes in places.items():
            try:
                with self._cluster.client(address).pipeline(transaction=False) as pipe:
                    for i in indexes:
                        pipe.execute_command(*todo[i][0], **todo[i][1])
                    answers = pipe.execute(raise_on_error=False)
                for i, answer in zip(indexes, answers, strict=True):
                    results[i] = self._follow(todo[i], answer)
                reached += 1
            except CONNECTION_ERRORS as exc:
                self._cluster.stale = True
                error = error or exc
        if error is not None and not (partly and reached):
            raise error
        if raise_on_error:
            for result in results:
                if isinstance(result, Exception):
                    raise result
        return results

    def _follow(self, command: tuple[tuple[Any, ...], dict[str, Any]], answer: Any) -> Any:
        """Return the answer; if it is a redirection, return the answer of the node to which it points."""
        if not isinstance(answer, exceptions.AskError):
            return answer
        try:
            return self._cluster.execute_command(*command[0], **command[1])
        except exceptions.ResponseError as exc:
            return exc


def read_slots(rows: Any, asked: Address) -> list[Address | None]:
    """Return the master of each slot, from an answer to CLUSTER SLOTS.

    Args:
        rows: first slot, last slot, master and its replicas, for each range of slots.
        asked: the node that answered; a row without a host means this one, which does not know its own name.
    """
    table: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    for first, last, (host, port, *_), *_ in rows:
        name = host.decode() if isinstance(host, bytes) else host
        address = (name or asked[0], int(port))
        table[int(first) : int(last) + 1] = [address] * (int(last) - int(first) + 1)
    return table


def _no_cluster(address: Address, exc: Exception) -> ConfigError:
    host, port = address
    if "unknown command" in str(exc):
        return ConfigError(
            f"redis {shown_address(host, port)} knows no clusters ({exc}): if it is a sentinel, set redis.master_name"
        )
    return ConfigError(f"redis {shown_address(host, port)} is no node of a cluster: {exc}")
