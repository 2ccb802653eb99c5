"""A task that ends its process, and one that exceeds its hard limit, among others: the same on all brokers."""

from __future__ import annotations

import pytest

from gearmesh import App, TaskFailed
from gearmesh.testing.waiting import eventually

from .harness import Site
from .producers import remote_tasks

__all__ = ["DIED_ALONE", "await_a_hard_limit", "await_a_task_that_ends_its_process"]

#: The reason with which a task fails that ends its process again and again.
DIED_ALONE = "its process died 3 times while it ran alone"


def await_a_task_that_ends_its_process(site: Site, others: int) -> None:
    """Send a task that ends its process between ``others``; it must fail, and all others end."""
    half = others // 2
    with App(site.url(), site.backend) as app:
        work = remote_tasks(app)["work"]
        results = app.publish_many(work.s(f"other/{i}", 1) for i in range(half))
        culprit = app.remote("die", "string").delay("culprit")
        results += app.publish_many(work.s(f"other/{i}", 1) for i in range(half, others))
        with pytest.raises(TaskFailed, match=DIED_ALONE):
            culprit.get(timeout=60)
        for each in results:
            each.get(timeout=60)
    assert 3 <= len(site.runs("culprit")) <= 4


def await_a_hard_limit(site: Site) -> None:
    """Send a task that exceeds a hard limit of 0.5 s beside 20 others; its OnError must run, and all others end."""
    with App(site.url(), site.backend) as app:
        hang, work = app.remote("hang", "string"), remote_tasks(app)["work"]
        mourn = app.remote("mourn", "string", "string")
        result = hang.s("hang").on_error(mourn.s("mourner")).apply_async()
        beside = app.publish_many(work.s(f"task/{i}", 50) for i in range(20))
        with pytest.raises(TaskFailed, match=r"hard time limit of 0\.5 s exceeded"):
            result.get(timeout=30)
        for each in beside:
            each.get(timeout=20)
        eventually(lambda: site.runs("mourner"))
