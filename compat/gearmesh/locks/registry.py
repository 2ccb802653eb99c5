"""Makes locks from their URLs."""

from __future__ import annotations

from gearmesh.config import RedisConfig
from gearmesh.errors import ConfigError
from gearmesh.interfaces.lock import Lock
from gearmesh.locks.memory import MemoryLock
from gearmesh.urls import PlainTarget, RedisTarget, Target, parse, redact, scheme_of

__all__ = ["open_lock"]


def open_lock(
    url: str | None, *, executable: str = "", machinery: int = 1, settings: RedisConfig | None = None
) -> Lock:
    """Make the lock that a URL names. It connects when it is first used.

    Args:
        url: ``redis://…``, ``rediss://…``, ``redis+socket://…``, ``memory://NAME``, ``eager`` (this scheduler
            alone), or the scheme of an entry point in the group ``gearmesh.locks``: a callable ``(url)``.
            None: as ``eager``.
        executable: base name of the Go program whose schedulers share the lock; ``""``: no Go program does.
        machinery: the major version of that program's Machinery, 1 or 2.
        settings: how connections to Redis are made; None: the defaults.

    Raises:
        ConfigError: the URL is wrong, the scheme is not known, or the Go program could not share this lock.
    """
    target = None if url is None else parse(url, "lock")
    if executable:
        _shared_with_go(url, target, executable, machinery)
    if isinstance(target, RedisTarget):
        from gearmesh.locks.redis import RedisLock
        from gearmesh.redis_client.connection_settings import ConnectionSettings

        return RedisLock(ConnectionSettings(target, settings or RedisConfig()))
    scheme = "eager" if url is None else scheme_of(url, "lock")
    if scheme == "eager":
        return MemoryLock()
    if scheme == "memory" and isinstance(target, PlainTarget):
        return MemoryLock(target.rest.strip("/"))
    from importlib.metadata import entry_points

    for point in entry_points(group="gearmesh.locks", name=scheme):
        lock: Lock = point.load()(url)
        return lock
    raise ConfigError(f"lock: {scheme!r} is no lock that one can open")


def _shared_with_go(url: str | None, target: Target | None, executable: str, machinery: int) -> None:
    """Raise ConfigError for a lock that the Go program cannot share, or would not share without any warning."""

    def refused(reason: str) -> ConfigError:
        shown = "none" if url is None else repr(redact(url))
        return ConfigError(
            f"lock is {shown}, but it is to be shared with {executable!r} (lock_executable), a program on "
            f"Machinery v{machinery}: {reason}"
        )

    if url is None or scheme_of(url, "lock") in ("memory", "eager"):
        raise refused("expected a redis:// URL; this one is known to this process only")
    if not isinstance(target, RedisTarget):
        return  # a plugin decides by itself if Go can share its lock
    if target.tls:
        if machinery == 1:
            raise refused("for rediss:// it silently takes a lock inside its process; expected redis://")
        raise refused("its lock has no TLS; expected redis://")
    if target.username:
        raise refused("its lock takes all that stands before '@' as the password of the default user")
    if machinery == 1 and target.path:
        raise refused("for redis+socket:// it silently takes a lock inside its process; expected redis://")
    if machinery == 1 and target.db:
        raise refused("its lock is always in database 0; expected a URL without a database")
