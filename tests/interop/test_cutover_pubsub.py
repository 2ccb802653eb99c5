"""The steps that ``gearmesh cutover`` prints for Pub/Sub, taken with real processes while calls come all the time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer

from gearmesh.shadow import SHADOW_QUEUE
from gearmesh.testing.peerproc import PeerProcess

from .cutover import CALLS, GO_QUEUE, OWN, Callers, GoService, Shop, command, compare
from .scenarios import Side


@pytest.mark.timeout(300)  # ten processes start one after another
def test_a_task_moves_and_comes_back(
    worker: Side,
    pubsub_emulator: PubSubServer,
    start_peer: Callable[..., PeerProcess],
    fresh_url: Callable[[], str],
    tmp_path: Path,
) -> None:
    """In each step, and on the way back, each call runs once and is answered. Go's other task goes on all the time."""
    project, backend = PubSubProject(), fresh_url()
    broker = project.queue(GO_QUEUE, "workers")
    shop = Shop(tmp_path, broker, backend, fresh_url())
    steps = shop.run("gearmesh cutover shop add")
    service = GoService(lambda *flags: start_peer(worker, broker, "-backend", backend, *flags))
    with ExitStack() as stack:
        callers = Callers(service, broker, backend, stack)
        # Before
        assert f"Make the topic {SHADOW_QUEUE} and a subscription of it with the same name." in steps
        project.queue(SHADOW_QUEUE)
        compare(shop, steps, callers)
        # 1. Add Python workers
        assert f"Make the topic {OWN} and a subscription of it with the same name" in steps
        project.queue(OWN)
        python = stack.enter_context(shop.start(command(steps, "gearmesh worker")))
        stack.callback(python.terminate)
        callers.go_on()
        # 2. Send it to python_tasks
        callers.send_to(OWN)
        # 3. Take the task out of Go
        by_the_first = service.runs()
        service.deploy("-skip", "add")
        callers.go_on()
        assert service.runs() == by_the_first
        # A message that comes later waits until the task is registered in Go again.
        late = callers.send_late()
        callers.go_on()
        assert not late.ready()
        # To go back after step 3, the last part of which is the way back before step 3
        service.deploy()
        assert late.get(timeout=60) == 42
        callers.send_to(GO_QUEUE)
        python.terminate()
        assert python.wait(60) == 0
        callers.go_on()
        calls = callers.stop() + 1

    by_python = shop.runs()
    assert set(by_python.values()) == {1}
    assert service.runs() + len(by_python) == calls
    assert len(by_python) > 3 * CALLS
    service.close()
    assert [project.take(name) for name in ("workers", OWN)] == [[], []]
