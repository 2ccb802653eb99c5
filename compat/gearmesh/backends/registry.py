"""From a result backend's URL to the backend."""

from __future__ import annotations

from importlib.metadata import entry_points

from gearmesh.backends.base import Backend
from gearmesh.backends.memory import MemoryBackend
from gearmesh.backends.null import NullBackend
from gearmesh.errors import ConfigError
from gearmesh.urls import RedisTarget, parse

__all__ = ["open_backend"]


def open_backend(url: str, *, expire: int) -> Backend:
    """The backend that a URL names.

    Args:
        url: ``redis://…``, ``rediss://…``, ``redis+socket://…``, ``memory://NAME``, ``null``, or the scheme
            of an entry point in the group ``gearmesh.backends``: a callable ``(url, *, expire)``.
        expire: seconds that states live after their last write; 1 or more.

    Raises:
        ConfigError: the URL or ``expire`` is wrong, or nobody knows the scheme.
    """
    if expire < 1:
        raise ConfigError(f"result backend: expire is {expire!r}, expected 1 or more seconds")
    target = parse(url, "backend")
    if isinstance(target, RedisTarget):
        from gearmesh.backends.redis import RedisBackend

        return RedisBackend(target.to_redis_kwargs(), expire=expire)
    if target.scheme == "memory":
        return MemoryBackend(target.rest.strip("/"), expire=expire)
    if target.scheme == "null":
        return NullBackend(expire=expire)
    for point in entry_points(group="gearmesh.backends", name=target.scheme):
        backend: Backend = point.load()(url, expire=expire)
        return backend
    raise ConfigError(f"backend: {target.scheme!r} is no backend that one can open")
