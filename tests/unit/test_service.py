"""A service's thread: started once, stopped, joined."""

from __future__ import annotations

import threading

from gearmesh.service import Service


def test_it_runs_until_it_is_stopped() -> None:
    began = threading.Event()

    def run() -> None:
        began.set()
        service.stopping.wait()

    service = Service("mine", run)
    assert not service.started
    service.start()
    assert began.wait(10)
    assert service.started
    assert not service.join(0)
    assert service.stop(10)
    assert service.started


def test_a_second_start_or_stop_does_nothing() -> None:
    runs: list[str] = []

    def run() -> None:
        runs.append(threading.current_thread().name)
        service.stopping.wait()

    service = Service("mine", run)
    service.start()
    service.start()
    assert service.stop(10)
    assert service.stop(10)
    service.start()
    assert service.join(10)
    assert runs == ["mine"]


def test_a_service_that_was_stopped_before_its_start_never_runs() -> None:
    runs: list[int] = []
    service = Service("mine", lambda: runs.append(1))
    assert service.join(10), "the service does not run"
    assert service.stop(10)
    service.start()
    assert service.join(10)
    assert not runs


def test_a_stop_wakes_the_function() -> None:
    woken = threading.Event()

    def run() -> None:
        woken.wait()

    service = Service("mine", run, woken.set)
    service.start()
    assert service.stop(10)


def test_the_thread_itself_may_stop_its_service() -> None:
    ended: list[bool] = []

    def run() -> None:
        ended.append(service.stop(10))

    service = Service("mine", run)
    service.start()
    assert service.join(10)
    assert ended == [False], "the service still runs"
