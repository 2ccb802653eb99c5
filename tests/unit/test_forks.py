"""State of one process: threads share it, and a forked process neither uses it nor keeps its sockets open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import redis

from gearmesh.process_local import OwnSockets, ProcessLocal
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection

QUEUE = "forked_from"
#: Takes a message, waits for the next one, and forks a process that outlives it.
WORKER = """
import os, sys, time
from gearmesh.testing.contracts.support import Tap
from gearmesh.transports.registry import open_connection
tap = Tap(open_connection(sys.argv[1]), (sys.argv[2],), 2)
tap.take(1)
tap.drain(0.2)
orphan = os.fork()
if orphan:
    print(orphan, flush=True)
time.sleep(60)
"""


def forked(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process; its exit code, 1 if ``work`` raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_value_of_a_process_is_made_by_one_thread() -> None:
    """A client of boto3 takes 7 MB and a tenth of a second: 32 threads at once must not make 32."""
    made = []

    def make() -> object:
        time.sleep(0.05)  # the other threads come meanwhile
        made.append(object())
        return made[-1]

    value, begin = ProcessLocal(make), threading.Barrier(16)

    def get(_: int) -> object:
        begin.wait()
        return value.get()

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(get, range(16)))
    assert found == made * 16


def test_a_process_that_is_forked_while_a_thread_makes_the_value_makes_its_own() -> None:
    making, goes_on = threading.Event(), threading.Event()

    def make() -> int:
        if os.getpid() == parent:
            making.set()
            assert goes_on.wait(60)
        return os.getpid()

    parent, value = os.getpid(), ProcessLocal(make)
    maker = threading.Thread(target=value.get)
    maker.start()
    assert making.wait(60)

    def look() -> None:
        signal.alarm(30)  # for a child that waits for the lock of a thread that it does not have
        assert value.get() == os.getpid()

    assert forked(look) == 0
    goes_on.set()
    maker.join()
    assert value.get() == parent


def test_a_forked_process_keeps_the_number_and_not_the_socket() -> None:
    sockets = OwnSockets()
    with ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        user, _peer = map(stack.enter_context, socket.socketpair())
        sockets.add(ours)
        sockets.add(None)

        def look() -> None:
            null = os.stat(os.devnull)
            found = os.fstat(ours.fileno())
            assert (found.st_dev, found.st_ino) == (null.st_dev, null.st_ino)
            user.getpeername()  # the child leaves a socket alone that was not added
            number = ours.fileno()
            with open(os.devnull) as other:
                assert other.fileno() != number
                ours.close()
                os.fstat(other.fileno())

        assert forked(look) == 0
        ours.send(b"x")
        assert theirs.recv(1) == b"x", "the socket here is as it was"


@contextmanager
def killed_while_its_child_lives(url: str) -> Iterator[None]:
    """A worker that holds a message was killed; a process that it had forked goes on."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, url, QUEUE], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        orphan = int(worker.stdout.readline())
        try:
            worker.kill()
            worker.wait()
            yield
            os.kill(orphan, 0)  # it lived all the while
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_rabbitmq_redelivers_though_a_forked_process_lives(amqp_url: str) -> None:
    with open_connection(amqp_url) as connection:
        producer = Tap(connection, (), 0)
        producer.publish(QUEUE, b"x")
        with killed_while_its_child_lives(amqp_url), open_connection(amqp_url) as other:
            heir = Tap(other, (QUEUE,), 1)
            (message,) = heir.take(1, timeout=10)
            assert message.body == b"x"
            heir.settle(message)


def test_redis_has_no_wait_of_a_dead_worker_though_a_forked_process_lives(redis_url: str) -> None:
    with open_connection(redis_url) as connection, redis.Redis.from_url(redis_url) as client:
        Tap(connection, (), 0).publish(QUEUE, b"x")

        def blocked() -> int:
            return int(client.info("clients")["blocked_clients"])  # type: ignore[index]

        before = blocked()
        with killed_while_its_child_lives(redis_url):
            eventually(lambda: blocked() == before, 0.5, "the end of the dead worker's wait")


SIGNALLED_AT_ONCE = """
import os, signal, time
from gearmesh.worker.forked import handle_signals
handle_signals((signal.SIGINT, signal.SIGTERM), lambda number, frame: None)
for _ in range(200):
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "the parent gets its signals as before"
"""


def test_a_signal_right_after_the_fork_is_not_lost() -> None:
    """The signal comes before Python has set up the new process, as from a pool that ends at once."""
    subprocess.run([sys.executable, "-c", SIGNALLED_AT_ONCE], check=True, timeout=60)
