"""The announcer calls an only watch in the thread that tells, and never after its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from gearmesh.backends.announcer import Announcer
from gearmesh.testing.waiting import eventually


def test_the_only_watch_is_called_in_the_thread_that_tells() -> None:
    announcer = Announcer()
    heard: list[threading.Thread] = []
    stop = announcer.watch(lambda uuids: heard.append(threading.current_thread()))
    announcer.tell(["a"])
    assert heard == [threading.current_thread()]
    others: list[Sequence[str]] = []
    stop_other = announcer.watch(others.append)
    announcer.tell(["b"])
    eventually(lambda: len(heard) == 2 and others == [["b"]])
    assert heard[1] is not threading.current_thread(), "two watches do not wait for each other"
    stop()
    announcer.tell(["c"])
    assert (len(heard), others) == (2, [["b"], ["c"]])
    stop_other()
    announcer.tell(["d"])
    assert (len(heard), len(others)) == (2, 2)


def test_the_end_of_a_watch_waits_for_a_call_in_another_thread() -> None:
    announcer = Announcer()
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def wake(uuids: Sequence[str]) -> None:
        begun.set()
        assert go_on.wait(60)
        ended.set()

    stop = announcer.watch(wake)
    teller = threading.Thread(target=announcer.tell, args=(["a"],))
    teller.start()
    assert begun.wait(60)
    stopper = threading.Thread(target=stop)
    stopper.start()
    go_on.set()
    stopper.join(60)
    assert ended.is_set()
    teller.join(60)


def test_a_watch_may_end_itself() -> None:
    announcer = Announcer()
    heard: list[Sequence[str]] = []
    stops: list[Callable[[], None]] = []

    def wake(uuids: Sequence[str]) -> None:
        heard.append(uuids)
        stops[0]()

    stops.append(announcer.watch(wake))
    announcer.tell(["a"])
    announcer.tell(["b"])
    assert heard == [["a"]]
    stops[0]()


def test_a_failing_watch_does_not_disturb_the_teller() -> None:
    announcer = Announcer()
    heard: list[Sequence[str]] = []

    def wake(uuids: Sequence[str]) -> None:
        heard.append(uuids)
        raise ValueError("on purpose")

    stop = announcer.watch(wake)
    announcer.tell(["a"])
    announcer.tell(["b"])
    assert heard == [["a"], ["b"]]
    stop()
