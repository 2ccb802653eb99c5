"""The tasks that Go sends to a Celery worker if Machinery has no form for Celery's next step."""

from __future__ import annotations

from typing import Any

from celery.app.task import Context

from gearmesh.celery.outgoing import step_of
from gearmesh.celery.step_types import APPLY_TASK, CHORD_TASK, FAILED_TASK
from gearmesh.errors import TaskFailed

__all__ = ["register"]


def register(app: Any) -> None:
    """Register the tasks of this module in the app."""

    @app.task(name=APPLY_TASK, shared=False, lazy=False, ignore_result=True)  # type: ignore[untyped-decorator]
    def apply(*results: Any, step: dict[str, Any], chain: list[Any] | None = None) -> None:
        options = {"chain": chain} if chain else {}
        step_of(app.backend.bridge, step).apply_async(results, **options)

    @app.task(name=CHORD_TASK, shared=False, lazy=False, ignore_result=True)  # type: ignore[untyped-decorator]
    def chord(group: str, body: dict[str, Any]) -> None:
        app.backend.fire(group, step_of(app.backend.bridge, body))

    @app.task(name=FAILED_TASK, shared=False, lazy=False, ignore_result=True)  # type: ignore[untyped-decorator]
    def failed(error: str, *, context: dict[str, Any]) -> None:
        request = Context({**context, "delivery_info": {}})
        app.backend.failed_in_go(request, TaskFailed(request.id, error, context["task"]))
