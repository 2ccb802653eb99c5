"""A flag that wakes one thread."""

from __future__ import annotations

import threading

from gearmesh.testing.waiting import eventually
from gearmesh.wakeup import Wakeup


def test_a_flag_that_is_set_twice_is_one_wakeup() -> None:
    flag = Wakeup()
    flag.set()
    flag.set()
    flag.wait()
    assert flag._unset.locked()
    flag.wait(0)  # returns: it is not set
    flag.wait(-1.0)
    flag.set()
    flag.clear()
    flag.clear()
    flag.wait(0)
    flag.set()
    flag.wait(1e12)  # longer than a lock can wait


def test_a_waiting_thread_is_woken_for_each_of_many_times() -> None:
    flag, seen, more = Wakeup(), [], threading.Event()

    def wait() -> None:
        while not more.is_set():
            flag.wait()
            seen.append(1)

    thread = threading.Thread(target=wait)
    thread.start()
    for count in range(1, 20):
        flag.set()
        eventually(lambda count=count: len(seen) == count)
    more.set()
    flag.set()
    thread.join(10)
    assert not thread.is_alive()
