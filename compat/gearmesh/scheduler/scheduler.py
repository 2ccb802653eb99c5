"""A scheduler: the timetable, a thread that sleeps until something is due, and threads that send it."""

from __future__ import annotations

import logging
import math
import threading
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from gearmesh.app.app import App
from gearmesh.app.periodic import Periodic
from gearmesh.backoff import Backoff, OutageLog
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.interfaces.lock import Claim, Lock
from gearmesh.locks.registry import open_lock
from gearmesh.scheduler.clock import Clock, SystemClock, Waker
from gearmesh.scheduler.pool import Pool
from gearmesh.scheduler.timetable import Firing, Missed, Timetable
from gearmesh.units import counted, duration, local_time
from gearmesh.urls import redact

__all__ = ["Scheduler"]

log = logging.getLogger("gearmesh.scheduler")

SECOND_NS = 10**9


class Scheduler:
    """Sends an app's periodic tasks when they are due, until it is stopped.

    If several schedulers share a lock, one of them sends each run. A scheduler first takes the lock and then sends, as
    in Go. If it dies in between, this run is not sent. While the lock or the broker is unreachable, the scheduler keeps
    a due run until the task is due again (or for as long as its ``catch_up`` says). It logs an error for each run that
    becomes too old.

    Args:
        app: the app with the entries. The scheduler also sends entries that are added later.
        lock: the lock; None: that of the app's settings.
        clock: the clock; None: that of the machine.
        threads: the number of entries that can wait for a server at a time.
        beat: a function that the scheduler calls in each turn of its loop. The argument says why nothing can be sent
            now; ``""``: sending works. The function returns the seconds until the next call.

    Raises:
        ConfigError: the lock is wrong, or an entry's ``catch_up`` needs another lock.
    """

    def __init__(
        self,
        app: App,
        *,
        lock: Lock | None = None,
        clock: Clock | None = None,
        threads: int = 8,
        beat: Callable[[str], float] = lambda reason: math.inf,
    ) -> None:
        config = app.config
        self.app = app
        # If only Python shares the lock, the queue distinguishes apps whose entries have the same name.
        self._executable = config.lock_executable or f"gearmesh:{config.default_queue}:"
        self._with_go = bool(config.lock_executable)
        self._lock = lock or open_lock(
            config.lock,
            settings=config.redis,
            executable=config.lock_executable,
            machinery=config.lock_machinery,
        )
        for entry in app.periodics.entries.values():
            self._check(entry)
        self._alone = lock is None and config.lock is None
        self._lock_outage = OutageLog(log, self._shown_lock)
        self._sending_outage = OutageLog(log, self._shown_servers)
        self._clock = clock or SystemClock()
        self._beat = beat
        self._name = uuid.uuid4().hex
        self._numbers = 0
        self._timetable = Timetable()
        self._waker = Waker()
        self._pool = Pool(threads)
        self._mutex = threading.Lock()
        #: firings to send, by entry; an entry is here while a thread works on it
        self._pending: dict[str, deque[tuple[Firing, str]]] = {}
        #: for entries with ``catch_up``: None while the lock is asked, then the moment up to which all was fired
        self._known: dict[str, int | None] = {}
        self._ending = False
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    # -- from outside

    def start(self) -> Scheduler:
        """Run in a thread of its own. Raises GearmeshError if it has been started before."""
        self._begin(threading.Thread(target=self._loop, name="gearmesh-scheduler", daemon=True)).start()
        return self

    def run(self, grace: float = 10.0) -> bool:
        """Run in this thread until :meth:`end` is called, and return the result of :meth:`stop`.

        Raises GearmeshError if it has been started before.
        """
        self._begin(threading.current_thread())
        self._loop()
        return self.stop(grace)

    def end(self) -> None:
        """Let :meth:`run` come to its end. May be called from anywhere, also from a signal handler."""
        self._ending = True
        self._waker.wake()

    def stop(self, timeout: float = 10.0) -> bool:
        """Stop: begin no further run. Runs that are being sent have ``timeout`` seconds to be sent.

        Returns False, and logs this, if a run could not be sent. You may call it before :meth:`start`, and twice.
        """
        self.end()
        if self._thread not in (None, threading.current_thread()):
            self._over.wait()
        done = self.drain(timeout)
        self._leaving.set()
        self._pool.close()
        self._lock.close()
        self._waker.close()
        return done

    def drain(self, timeout: float) -> bool:
        """Wait until all due runs are sent or given up; False if that took longer than ``timeout`` seconds."""
        return self._pool.drain(timeout)

    def __enter__(self) -> Scheduler:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- the thread of the loop

    def _begin(self, thread: threading.Thread) -> threading.Thread:
        if self._thread is not None or self._leaving.is_set():
            raise GearmeshError("a scheduler can be started once")
        self._thread = thread
        return thread

    def _loop(self) -> None:
        unwatch = self.app.periodics.watch(self._waker.wake)
        try:
            self._log_start()
            while not self._ending:
                entries, fired = self._entries()
                firings, missed, pause = self._timetable.look(self._clock.now(), entries, fired)
                for each in missed:
                    self._log_missed(each)
                for firing in firings:
                    self._queue(firing)
                self._clock.wait(self._waker, min(pause, self._beat(self._trouble())))
        except BaseException as exc:
            log.critical("the scheduler stops because of an error: %r", exc, exc_info=True)
            raise
        finally:
            unwatch()
            self._over.set()

    def _trouble(self) -> str:
        """Return why nothing can be sent now; ``""``: something can, as far as is known."""
        if self._lock_outage.lasts:
            return "the lock is unreachable"
        return "the broker or the result backend is unreachable" if self._sending_outage.lasts else ""

    def _entries(self) -> tuple[dict[str, Periodic], dict[str, int]]:
        """Return the known entries, and the moments up to which those with ``catch_up`` have been fired."""
        entries = dict(self.app.periodics.entries)
        fired: dict[str, int] = {}
        with self._mutex:
            for name, entry in list(entries.items()):
                if not entry.catch_up:
                    continue
                if name not in self._known:
                    self._known[name] = None
                    self._pool.submit(partial(self._learn, entry))
                known = self._known[name]
                if known is None:
                    del entries[name]  # runs that become due meanwhile are found once the lock has answered
                else:
                    fired[name] = known
        return entries, fired

    def _check(self, entry: Periodic) -> None:
        if not entry.catch_up:
            return
        if self._with_go:
            raise ConfigError(
                f"periodic {entry.name!r}: catch_up is {entry.catch_up!r}, expected None beside Go's schedulers "
                "(lock_executable): they leave no trace of the runs that they have sent"
            )
        if not self._lock.keeps:
            raise ConfigError(
                f"periodic {entry.name!r}: catch_up is {entry.catch_up!r}, but there is no lock to remember the runs "
                "that were sent; expected a setting lock such as redis://localhost:6379"
            )

    def _queue(self, firing: Firing) -> None:
        # Number the firings: after a clock was set back, the same moment is another firing.
        self._numbers += 1
        holder = f"{self._name}:{self._numbers}"
        name = firing.entry.name
        with self._mutex:
            pending = self._pending.get(name)
            if pending is not None:
                pending.append((firing, holder))
                return
            self._pending[name] = deque([(firing, holder)])
        self._pool.submit(partial(self._work_off, name))

    # -- the threads that wait for servers

    def _learn(self, entry: Periodic) -> None:
        """Ask the lock for the moment up to which an entry has been fired."""
        now = self._clock.now().wall
        key = entry.lock_key(self._executable)
        keep = entry.remembered(now, *entry.deadlines([now]))
        wait_again = self._waiter(None, self._lock_outage)
        while not self._ending:
            try:
                self._check(entry)  # the entry may be new
                known = self._lock.begin(key, now, keep)
                self._lock_outage.worked()
            except self._lock.connection_errors as exc:
                wait_again(exc)
                continue
            except GearmeshError as exc:
                log.error("%s: runs that were missed while no scheduler ran are not sent", exc)
                known = now
            with self._mutex:
                self._known[entry.name] = known
            self._waker.wake()
            return

    def _work_off(self, name: str) -> None:
        """Send the due firings of one entry, one after the other."""
        while True:
            with self._mutex:
                pending = self._pending[name]
                if not pending:
                    del self._pending[name]
                    return
                firing, holder = pending.popleft()
            try:
                self._fire(firing, holder)
            except GearmeshError as exc:
                self._log_lost(firing, exc)
            except Exception as exc:  # for example of a user's hook; the other firings go on
                self._log_lost(firing, repr(exc), exc_info=True)

    def _fire(self, firing: Firing, holder: str) -> None:
        if not self._take(firing, holder):
            return
        wait_again = self._waiter(firing.until_ns, self._sending_outage)
        while True:
            try:
                result = self.app._fire(firing.entry, wait_again)
            except self.app.backend.connection_errors as exc:  # a unique call asks the backend
                if not wait_again(exc):
                    raise
            else:
                self._sending_outage.worked()
                log.info("sent", extra=_shown(firing) | {"uuid": getattr(result, "uuid", "")})
                return

    def _take(self, firing: Firing, holder: str) -> bool:
        """Claim a firing; True if this scheduler is to send it."""
        entry, due = firing.entry, firing.due_ns
        wait_again = self._waiter(firing.until_ns, self._lock_outage)
        trouble: BaseException | None = None
        while True:
            now = self._clock.now().wall
            if self._ending:
                log.info("left to other schedulers: this one is stopping", extra=_shown(firing))
                return False
            if now >= firing.until_ns:
                self._log_lost(firing, trouble or "the task is due again already")
                return False
            claim = Claim(
                key=entry.lock_key(self._executable),
                holder=holder,
                due_ns=due,
                next_ns=entry.next_after(due),
                now_ns=now,
                keep=entry.remembered(due, firing.until_ns),
            )
            try:
                taken = self._lock.take(claim)
                self._lock_outage.worked()
                return taken
            except self._lock.connection_errors as exc:
                trouble = exc
                wait_again(exc)

    def _waiter(self, until_ns: int | None, outage: OutageLog) -> Callable[[BaseException], bool]:
        """Return a function that waits between attempts; it returns False once it is too late or the scheduler ends."""
        backoff = Backoff(0.1)

        def wait(exc: BaseException) -> bool:
            outage.failed(exc, "due tasks wait, and are sent if the server is back before they are due again")
            pause = backoff.next()
            if until_ns is not None:
                pause = min(pause, (until_ns - self._clock.now().wall) / SECOND_NS)
            if pause <= 0 or self._leaving.wait(pause):
                return False
            return until_ns is None or self._clock.now().wall < until_ns

        return wait

    # -- logging

    def _shown_lock(self) -> str:
        lock = self.app.config.lock
        return f"lock {redact(lock)}" if lock else "the lock"

    def _shown_servers(self) -> str:
        broker, backend = self.app.masked_broker, self.app.masked_backend
        return f"broker {broker}" + (
            f" or result backend {backend}" if backend not in (broker, "", None) else ""
        )

    def _log_start(self) -> None:
        entries = self.app.periodics.entries
        now = self._clock.now().wall
        due = min((entry.next_after(now) for entry in entries.values()), default=0)
        log.info(
            "gearmesh %s scheduler: broker %s; lock %s; %s; %s",
            version("gearmesh"),
            self.app.masked_broker,
            redact(self.app.config.lock) if self.app.config.lock else "none",
            counted(len(entries), "periodic task"),
            f"the next one is due in {duration((due - now) / SECOND_NS)}" if due > now else "none is due",
            extra={"_details": {"periodic_tasks": sorted(entries)}},
        )
        if self._alone:
            log.info("no lock configured: if you run several schedulers, each one sends every task")

    def _log_missed(self, missed: Missed) -> None:
        log.error(
            "missed %s or more, since no scheduler ran in time",
            counted(missed.count, "run"),
            extra={"periodic": missed.entry.name, "last_due": local_time(missed.last_ns)},
        )

    def _log_lost(self, firing: Firing, why: object, *, exc_info: bool = False) -> None:
        log.error("not sent: %s", why, extra=_shown(firing), exc_info=exc_info)


def _shown(firing: Firing) -> dict[str, str]:
    return {"periodic": firing.entry.name, "due": local_time(firing.due_ns)}
