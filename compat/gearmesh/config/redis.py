"""Settings of connections to Redis."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["RedisConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisConfig:
    """Machinery's Redis settings, by its names, and ours after them.

    Machinery's ``delayed_tasks_key`` and ``delayed_tasks_poll_period`` are
    ``Config.delayed_tasks_key`` and ``Config.delayed_poll``.

    Attributes:
        read_timeout: seconds for an answer; 0: no limit.
        write_timeout: seconds for sending; 0: no limit. See :attr:`socket_timeout`.
        connect_timeout: seconds for a connection; 0: no limit.
        client_name: the name that connections give to the server; ``""``: none.
        master_name: the name by which sentinels, the URL's hosts, know the master; ``""``: no sentinels.
        cluster_enabled: the URL's one host is a cluster's. Several hosts are a cluster without it.
        sentinel_password: the password of the sentinels themselves; ``""``: none. Left out of ``repr``.
        max_idle, max_active, max_idle_timeout, wait: of Go's pool. Accepted; nothing here depends on them.
        normal_tasks_poll_period: milliseconds. Accepted; idle workers here are woken by the server.
        ca: file of the certificates that ``rediss://`` trusts; ``""``: the system's.
        cert: file of this client's certificate; ``""``: none.
        key: file of its key; ``""``: it is in ``cert``.
        replicas_ack: the number of replicas that must have a write before it counts as done; 0: none.
        replicas_ack_timeout: seconds to wait for them before the write is repeated; above 0.
    """

    read_timeout: float = 15
    write_timeout: float = 15
    connect_timeout: float = 15
    client_name: str = ""
    master_name: str = ""
    cluster_enabled: bool = False
    sentinel_password: str = field(default="", repr=False)
    max_idle: int = 3
    max_active: int = 0
    max_idle_timeout: float = 240
    wait: bool = False
    normal_tasks_poll_period: int = 1000
    ca: str = ""
    cert: str = ""
    key: str = ""
    replicas_ack: int = 0
    replicas_ack_timeout: float = 1.0

    @property
    def socket_timeout(self) -> float | None:
        """Seconds for one read or write: redis-py has one limit for both, so the longer of the two; None: no limit."""
        both = (self.read_timeout, self.write_timeout)
        return max(both) if all(both) else None

    @property
    def socket_connect_timeout(self) -> float | None:
        """Seconds for a connection; None: no limit."""
        return self.connect_timeout or None
