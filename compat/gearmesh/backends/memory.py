"""The backend ``memory://NAME`` keeps states inside this process, for tests and for eager tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final

from gearmesh.backends.store import Store
from gearmesh.errors import BackendError, ConfigError
from gearmesh.shared import SharedByName
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["MemoryBackend"]


class _EnlistedStates:
    """Writes states in the memory broker's own step; see :class:`gearmesh.transports.memory.EnlistedStates`."""

    def __init__(self, store: Store, expire: int) -> None:
        self._store = store
        self._expire = expire

    def locked(self) -> AbstractContextManager[object]:
        return self._store.lock

    def write(self, states: Sequence[TaskState]) -> None:
        self._store.write(states, self._expire)

    def complete(self, group_uuid: str, members: int) -> bool:
        group = self._store.group(group_uuid)
        if group is None or len(group.meta.TaskUUIDs) != members:
            return False
        self._store.touch_group(group, self._expire)
        return self._store.finished(group.meta)

    def trigger(self, group_uuid: str, by: str) -> bool:
        group = self._store.group(group_uuid)
        return group is not None and self._store.trigger(group, by)


_STORES: Final = SharedByName(Store)


class MemoryBackend:
    """A result backend in this process. All backends of one name share their states.

    The states end with the last of these backends. A forked child has a copy of its own.

    Args:
        name: the name to share under; "" is a name like any other.
        expire: seconds for which a state or a group meta lives after its last write; 1 or more.

    Raises:
        ConfigError: ``expire`` is below 1.
    """

    connection_errors: tuple[type[BaseException], ...] = ()
    keeps = True

    def __init__(self, name: str = "", *, expire: int = 3600) -> None:
        if expire < 1:
            raise ConfigError(f"expire is {expire!r}, expected 1 or more seconds")
        self.expire = expire
        self._store = _STORES.get(name)
        self._watches: list[Callable[[], None]] = []

    def states_in_process(self) -> _EnlistedStates:
        """Let the memory broker write states in the step that settles a delivery."""
        return _EnlistedStates(self._store, self.expire)

    def write(self, states: Sequence[TaskState]) -> None:
        with self._store.lock:
            self._store.write(states, self.expire)

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        with self._store.lock:
            self._store.write(self._store.unless_success(states), self.expire)

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        with self._store.lock:
            return [self._store.state(uuid) for uuid in uuids]

    def find_uuids(self, prefix: str, limit: int) -> list[str]:
        with self._store.lock:
            alive = (
                uuid
                for uuid in (*self._store.states, *self._store.groups)
                if uuid.startswith(prefix) and (self._store.state(uuid) or self._store.group(uuid))
            )
            return list(islice(alive, limit))

    def create_group(self, meta: GroupMeta) -> None:
        with self._store.lock:
            self._store.put_group(meta, self.expire)

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        with self._store.lock:
            group = self._store.group(group_uuid)
            return None if group is None else group.meta

    def finished(self, meta: GroupMeta) -> bool:
        with self._store.lock:
            return self._store.finished(meta)

    def trigger(self, group_uuid: str, by: str) -> bool:
        with self._store.lock:
            group = self._store.group(group_uuid)
            if group is None:
                raise BackendError(
                    f"group {group_uuid!r} is not known (any more), its chord cannot be triggered"
                )
            return self._store.trigger(group, by)

    def touch(self, uuids: Sequence[str]) -> None:
        with self._store.lock:
            self._store.touch(uuids, self.expire)

    def purge(self, uuids: Sequence[str]) -> None:
        with self._store.lock:
            for uuid in uuids:
                self._store.states.pop(uuid, None)
                self._store.groups.pop(uuid, None)
                self._store.reports.pop(uuid, None)

    def report(self, bodies: Mapping[str, bytes]) -> None:
        with self._store.lock:
            self._store.report(bodies, self.expire)

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        with self._store.lock:
            return [self._store.read_report(uuid) for uuid in uuids]

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        with self._store.lock:
            until = time.monotonic() + seconds
            self._store.all_revoked()
            for uuid in uuids:
                self._store.revoked[uuid] = max(until, self._store.revoked.get(uuid, 0.0))
            self._store.revocations.announce(uuids)

    def revoked(self) -> dict[str, float]:
        with self._store.lock:
            return self._store.all_revoked()

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        def told(uuids: Sequence[str]) -> None:
            known = self.revoked()
            wake({uuid: known[uuid] for uuid in uuids if uuid in known})

        with self._store.lock:
            stop = self._store.revocations.watch(told)
            self._store.revocations.announce(list(self._store.all_revoked()))
            self._watches.append(stop)
        return stop

    def claim(self, key: str, holder: str, seconds: float) -> str:
        with self._store.lock:
            now = time.monotonic()
            self._store.claims = {k: claim for k, claim in self._store.claims.items() if claim[1] > now}
            return self._store.claims.setdefault(key, (holder, now + seconds))[0]

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        with self._store.lock:
            for key, holder in claims:
                if self._store.claims.get(key, ("", 0.0))[0] == holder:
                    del self._store.claims[key]

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        with self._store.lock:
            stop = self._store.announcer.watch(wake)
            self._watches.append(stop)
        return stop

    def close(self) -> None:
        """End this backend's watches. The states stay while another of the same name is open."""
        watches, self._watches = self._watches, []
        for stop in watches:
            stop()
