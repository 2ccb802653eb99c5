"""The pages of the dashboard: each module has a function that returns the values of the page's template.

- ``overview``: queues and states. ``queue``: the messages of one queue. ``task``: one task.
- ``failed``, ``dead``, ``delayed``, ``groups``, ``workers`` and ``periodic``: the lists of the menu.
- ``paging`` has the positions of pages, and ``action`` the outcome of an action.

Begin with ``delayed``, the shortest. A page is a function of the desk and the query; it raises GearmeshError for a
server that cannot be reached. An action is a function of the desk and the form; it returns a
:class:`~gearmesh.web.pages.action.Done`, or the values of a template that asks the user first.

A page must never change anything. Every value that comes from a task goes through ``desk.masker``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.pages.action import Done
from gearmesh.web.pages.dead import confirm, dead, take
from gearmesh.web.pages.delayed import delayed
from gearmesh.web.pages.failed import failed
from gearmesh.web.pages.groups import group, groups
from gearmesh.web.pages.overview import overview
from gearmesh.web.pages.periodic import periodic, run_now
from gearmesh.web.pages.queue import look, queue
from gearmesh.web.pages.retry_failed import confirm_failed, retry_failed
from gearmesh.web.pages.task import revoke, task
from gearmesh.web.pages.workers import tell, workers

__all__ = ["ACTIONS", "PAGES"]

#: Path -> the name of the template, and the function of the page.
PAGES: Final[dict[str, tuple[str, Callable[[Desk, Fields], Mapping[str, Any]]]]] = {
    "/": ("overview", overview),
    "/queue": ("queue", queue),
    "/task": ("task", task),
    "/failed": ("failed", failed),
    "/dead": ("dead", dead),
    "/delayed": ("delayed", delayed),
    "/groups": ("groups", groups),
    "/group": ("group", group),
    "/workers": ("workers", workers),
    "/periodic": ("periodic", periodic),
}
#: Path -> the action for a form that is posted to it.
ACTIONS: Final[dict[str, Callable[[Desk, Fields], Done | Mapping[str, Any]]]] = {
    "/queue/look": look,
    "/task/revoke": revoke,
    "/failed/confirm": confirm_failed,
    "/failed/retry": retry_failed,
    "/dead/confirm": confirm,
    "/dead/take": take,
    "/periodic/run": run_now,
    "/workers/tell": tell,
}
