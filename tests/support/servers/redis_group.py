"""Launches several Redis processes that belong together: a cluster, or a master with replicas and sentinels."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import redis
from tests.support.servers.certificates import Certificates
from tests.support.servers.redis import RedisServer, find_tls_redis_server

from gearmesh.cli.local_redis import find_redis_server
from gearmesh.redis_client.cluster import read_slots, slot_of
from gearmesh.testing.servers import Server
from gearmesh.testing.startable import Startable

__all__ = ["RedisCluster", "RedisSentinels", "Sentinel"]

SLOTS = 16384


class _Group(Startable):
    """Servers that start and end together; a context manager."""

    def __init__(self, timeout: float) -> None:
        self._stack = ExitStack()
        self._timeout = timeout

    def close(self) -> None:
        """End them and remove their folders. A second call does nothing."""
        self._stack.close()

    def _start(self, servers: Sequence[Server]) -> None:
        with ThreadPoolExecutor(len(servers)) as pool:
            for server in servers:
                self._stack.callback(server.close)
            list(pool.map(lambda server: server.start(), servers))

    def _until(self, what: str, condition: Callable[[], object]) -> None:
        until = time.monotonic() + self._timeout
        while True:
            with contextlib.suppress(redis.RedisError):
                if condition():
                    return
            if time.monotonic() > until:
                raise RuntimeError(f"after {self._timeout:g} s it is not so that {what}")
            time.sleep(0.02)


class RedisCluster(_Group):
    """A Redis cluster on this machine: three masters with a replica each. It starts in some 3 s.

    Args:
        replicas: of each master.
        node_timeout: seconds until a silent node counts as dead; its replica then takes over within some 2 s.
        args: more arguments of each redis-server.
        options: more arguments of each client (``username``, ``password``).
        tls: clients and nodes speak TLS, with these certificates, and demand one of each client.
        timeout: seconds to wait until it serves.

    Raises:
        ServerMissing: there is no redis-server on this machine.
    """

    def __init__(
        self,
        *,
        replicas: int = 1,
        node_timeout: float = 15.0,
        args: Sequence[str] = (),
        options: dict[str, Any] | None = None,
        tls: Certificates | None = None,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(timeout)
        self._masters = 3
        self._scheme = "rediss" if tls else "redis"
        self._options = (tls.redis if tls else {}) | (options or {})
        arguments = [
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(int(node_timeout * 1000))),
            *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
            *(("--tls-cluster", "yes", "--tls-replication", "yes") if tls else ()),
            *args,
        ]
        #: The servers: first the masters of the beginning, then their replicas.
        self.nodes = [
            ClusterNode(args=arguments, tls=tls, timeout=timeout)
            for _ in range(self._masters * (1 + replicas))
        ]

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>,…``: all nodes; with TLS ``rediss://``."""
        return f"{self._scheme}://{self.hosts}"

    @property
    def hosts(self) -> str:
        """``127.0.0.1:<port>,…``: all nodes."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def client(self, node: RedisServer) -> redis.Redis:
        """A client of one node. To be closed."""
        return redis.Redis(port=node.port, **self._options)

    def node_of(self, key: str) -> RedisServer:
        """The master that has a key now."""
        for node in self.nodes:
            if not node.running:
                continue
            with self.client(node) as client:
                table = read_slots(client.execute_command("CLUSTER SLOTS"), ("", 0))
            if address := table[slot_of(key)]:
                return next(node for node in self.nodes if node.port == address[1])
        raise RuntimeError(f"no node has the slot of {key!r}")

    def flush(self) -> None:
        """Empty all masters."""
        for node in self.nodes:
            with self.client(node) as client, contextlib.suppress(redis.ReadOnlyError):
                client.flushall()

    def wait(self) -> None:
        """Wait until all slots are served, and every living replica follows a living master."""
        living = [node for node in self.nodes if node.running]
        self._until("the cluster is well", lambda: all(self._well(node) for node in living))

    def start(self) -> None:
        self._start(self.nodes)
        ids = {}
        for at, node in enumerate(self.nodes):
            with self.client(node) as client:
                ids[node.port] = client.execute_command("CLUSTER MYID").decode()
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
                if at < self._masters:
                    first, last = (SLOTS * part // self._masters for part in (at, at + 1))
                    client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
        for node in self.nodes:  # introduce each pair: it would take seconds until the nodes spread the news
            with self.client(node) as client:
                for other in self.nodes:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", other.port)
        for at, node in enumerate(self.nodes[self._masters :]):
            master = ids[self.nodes[at % self._masters].port]
            with self.client(node) as client:
                follow = lambda client=client, master=master: client.execute_command(  # noqa: E731
                    "CLUSTER REPLICATE", master
                )
                self._until("a replica knows its master", follow)
        self.wait()

    def _well(self, node: RedisServer) -> bool:
        with self.client(node) as client:
            info: Any = client.execute_command("CLUSTER INFO")
            if info["cluster_state"] != "ok" or int(info["cluster_slots_ok"]) != SLOTS:
                return False
            if int(info["cluster_known_nodes"]) != len(self.nodes):
                return False
            here = client.info("replication")
            return bool(here["role"] == "master" or here["master_link_status"] == "up")


class ClusterNode(RedisServer):
    """One node of a cluster."""

    def _free_port(self) -> int:
        """A free port whose cluster bus, 10,000 above, is free, too."""
        while True:
            port = super()._free_port() % 20_000 + 20_000
            with socket.socket() as sock, socket.socket() as bus, contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
                return port


class Sentinel(Server):
    """One sentinel process. See :class:`RedisSentinels` for the arguments."""

    def __init__(self, lines: Sequence[str], *, tls: Certificates | None = None, timeout: float) -> None:
        self._binary = find_redis_server() if tls is None else find_tls_redis_server()
        super().__init__("redis-sentinel", timeout=timeout)
        self._lines = [*lines, "bind 127.0.0.1", f"dir {self.folder}"]
        if tls is None:
            self._lines.append(f"port {self.port}")
        else:
            self._lines += ["port 0", f"tls-port {self.port}", "tls-replication yes"]
            self._lines += [f"tls-ca-cert-file {tls.ca}"]
            self._lines += [f"tls-cert-file {tls.server}", f"tls-key-file {tls.server_key}"]

    def _command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if (
            not config.exists()
        ):  # keep it at a restart: the sentinel writes the servers that it has found into it
            config.write_text("\n".join([*self._lines, ""]))
        return [self._binary, str(config), "--sentinel"]

    def _ready(self, offset: int) -> bool:
        return b"+monitor master" in self.log(offset)


class RedisSentinels(_Group):
    """A master with replicas, and three sentinels that watch it; some 3 s.

    Args:
        replicas: of the master.
        down_after: seconds until a silent master counts as dead; a replica then takes over within some 2 s.
        args: more arguments of each redis-server.
        password: of the servers; ``""``: none.
        sentinel_password: of the sentinels; ``""``: none.
        tls: servers and sentinels speak TLS, with these certificates, and demand one of each client.
        timeout: seconds to wait until they know each other.

    Raises:
        ServerMissing: there is no redis-server on this machine.
    """

    #: The name by which the sentinels know the master.
    master_name = "gears"

    def __init__(
        self,
        *,
        replicas: int = 1,
        down_after: float = 1.0,
        args: Sequence[str] = (),
        password: str = "",
        sentinel_password: str = "",
        tls: Certificates | None = None,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(timeout)
        self._password, self._sentinel_password = password, sentinel_password
        self._tls = tls
        self._options: dict[str, Any] = tls.redis if tls else {}
        self._down_after = down_after
        arguments = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *args]
        if password:
            arguments += ["--requirepass", password, "--masterauth", password]
        if tls:
            arguments += ["--tls-replication", "yes"]
        #: The servers; the first is the master of the beginning.
        self.servers = [RedisServer(args=arguments, tls=tls, timeout=timeout) for _ in range(1 + replicas)]
        #: The sentinels.
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        """``redis://[:password@]127.0.0.1:<port>,…``: all sentinels; with TLS ``rediss://``."""
        scheme = "rediss" if self._tls else "redis"
        login = f":{self._password}@" if self._password else ""
        return f"{scheme}://{login}{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}"

    @property
    def master(self) -> RedisServer:
        """The server that the sentinels call the master now."""
        for sentinel in self.sentinels:
            if sentinel.running:
                with self._ask(sentinel) as client:
                    port = int(client.sentinel_get_master_addr_by_name(self.master_name)[1])
                return next(server for server in self.servers if server.port == port)
        raise RuntimeError("no sentinel is running")

    def client(self, server: RedisServer, db: int = 0) -> redis.Redis:
        """A client of one server. To be closed."""
        return redis.Redis(port=server.port, db=db, password=self._password or None, **self._options)

    def failover(self) -> None:
        """Let a replica take over, while the master lives; wait until it has."""
        before = self.master
        with self._ask(self.sentinels[0]) as client:
            client.execute_command("SENTINEL FAILOVER", self.master_name)
        self.wait_for_other(before)

    def wait_for_other(self, before: RedisServer) -> None:
        """Wait until another server than ``before`` is the master."""

        def done() -> bool:
            master = self.master
            if master is before:
                return False
            with self.client(master) as client:
                return bool(client.info("replication")["role"] == "master")

        self._until("another server is the master", done)

    def bring_back(self, server: RedisServer) -> None:
        """Start a server that was killed, and let it follow the master of now; sentinels would do so after 10 s."""
        server.start()
        with self.client(server) as client:
            client.replicaof("127.0.0.1", str(self.master.port))

    def start(self) -> None:
        self._start(self.servers)
        first, *others = self.servers
        for other in others:
            with self.client(other) as client:
                client.replicaof("127.0.0.1", str(first.port))
        name = self.master_name
        lines = [
            f"sentinel monitor {name} 127.0.0.1 {first.port} 2",
            f"sentinel down-after-milliseconds {name} {int(self._down_after * 1000)}",
            f"sentinel failover-timeout {name} 4000",
        ]
        if self._password:
            lines.append(f"sentinel auth-pass {name} {self._password}")
        if self._sentinel_password:
            lines += [
                f"requirepass {self._sentinel_password}",
                f"sentinel sentinel-pass {self._sentinel_password}",
            ]
        self._until("the replicas follow", lambda: all(self._follows(other) for other in others))
        self.sentinels = [Sentinel(lines, tls=self._tls, timeout=self._timeout) for _ in range(3)]
        self._start(self.sentinels)
        self._until("the sentinels agree", lambda: all(self._knows_all(each) for each in self.sentinels))

    def _follows(self, server: RedisServer) -> bool:
        with self.client(server) as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    def _knows_all(self, sentinel: Sentinel) -> bool:
        with self._ask(sentinel) as client:
            seen = client.sentinel_master(self.master_name)
        return bool(seen["num-slaves"] == len(self.servers) - 1 and seen["num-other-sentinels"] == 2)

    def _ask(self, sentinel: Sentinel) -> Any:
        return redis.Redis(port=sentinel.port, password=self._sentinel_password or None, **self._options)
