"""``python -m gearmesh.testing.peer``: reads flags, and then answers each line of standard input by one line."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from gearmesh.config import Config
from gearmesh.errors import GearmeshError
from gearmesh.logs import set_up_logging
from gearmesh.testing.peer.tasks import Counter, make_app
from gearmesh.testing.peer.verbs import Peer
from gearmesh.wire.names import DEFAULT_QUEUE, DELAYED_TASKS
from gearmesh.worker import Worker

#: Seconds that the worker may take to stop after the end of standard input.
GRACE = 5.0


def flags() -> argparse.ArgumentParser:
    """Make the parser of the contract's flags, which take one dash or two, as in Go."""
    parser = argparse.ArgumentParser("gearmesh.testing.peer", description=__doc__, allow_abbrev=False)

    def flag(name: str, help: str, default: Any = "", kind: type = str, **more: Any) -> None:
        parser.add_argument(f"-{name}", f"--{name}", help=help, default=default, type=kind, **more)

    flag("mode", "role of this peer", "both", choices=("worker", "client", "both"))
    flag("broker", "broker URL", "redis://127.0.0.1:6379/0")
    flag("backend", "result backend URL; empty: the broker's")
    flag("lock", "lock URL; empty: this process only")
    flag("lock-executable", "base name of the Go program that shares the lock")
    flag("queue", "default queue", DEFAULT_QUEUE)
    flag("custom-queue", "queue that the worker reads instead of the default queue")
    flag("concurrency", "number of tasks at the same time", 10, int)
    flag("expire", "seconds for which results are kept", 3600, int)
    flag("delayed-queue", "Redis: key of the delayed tasks", DELAYED_TASKS)
    flag("sep", "separator of several broker URLs")
    flag("only", "register these tasks only, separated by commas")
    flag("skip", "do not register these tasks, separated by commas")
    flag("log", "level of the log on stderr", "INFO")
    hint = "read Machinery's environment variables, too; flags win over them"
    parser.add_argument("-env", "--env", help=hint, action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until standard input ends. Returns the exit status."""
    given = flags().parse_args(argv)
    set_up_logging(given.log.upper())
    counter = Counter()
    worker: Worker | None = None
    try:
        config = Config.load(
            env=None if given.env else {},
            broker=given.broker,
            backend=given.backend or given.broker,
            lock=given.lock or None,
            lock_executable=given.lock_executable,
            default_queue=given.queue,
            results_expire_in=given.expire,
            delayed_tasks_key=given.delayed_queue,
            multiple_broker_separator=given.sep,
        )
        app = make_app(only=_names(given.only), skip=_names(given.skip), counter=counter, config=config)
        if given.mode != "client":
            queues = [given.custom_queue] if given.custom_queue else None
            worker = Worker(app, queues, given.concurrency).start()
    except GearmeshError as exc:
        _say(Peer.refusal(exc))
        return 2
    leaving = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        if leaving.is_set():
            os._exit(1)
        leaving.set()
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, leave)
    peer = Peer(app, counter)
    _say(b'{"OK":true,"Raw":"ready"}')
    try:
        for line in _requests():
            if line.strip():
                _say(peer.answer(line))
    except KeyboardInterrupt:
        print("a signal has ended the peer", file=sys.stderr)
    finally:
        peer.close()
        if worker is not None:
            worker.stop(GRACE)
        app.close()
    return 0


def _requests() -> Iterator[bytes]:
    """The lines of standard input.

    Python does not interrupt a read for a signal that comes just before it. So signals write to a pipe, too, and the
    wait for input ends.
    """
    waking, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    rest = b""
    while True:
        ready, _, _ = select.select([sys.stdin, waking], [], [])
        if waking in ready:
            os.read(waking, 1)
            continue  # the handler has run, or runs now
        data = os.read(sys.stdin.fileno(), 1 << 16)
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if not data:
            yield rest
            return


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
