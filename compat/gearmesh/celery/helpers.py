"""Tasks that Go sends to a Celery worker where it has no words for what Celery would do next."""

from __future__ import annotations

from typing import Any, Final

from celery.app.task import Context

from gearmesh.errors import TaskFailed

__all__ = ["APPLY", "CHORD", "FAILED", "register"]

#: Goes on with a chain or a callback: a group, a chord, a step that is to wait.
APPLY: Final = "gearmesh.apply"
#: A chord of Celery's whose last member ran in Go.
CHORD: Final = "gearmesh.chord"
#: A task of a Celery workflow failed in Go.
FAILED: Final = "gearmesh.failed"


def register(app: Any) -> None:
    """Give the app the tasks of this module."""
    from gearmesh.celery.crossing import step_of

    def bridge() -> Any:
        from gearmesh.celery.bridge import Bridge

        return Bridge.of(app)

    @app.task(name=APPLY, shared=False, lazy=False, ignore_result=True)  # type: ignore[untyped-decorator]
    def apply(*results: Any, step: dict[str, Any], chain: list[Any] | None = None) -> None:
        options = {"chain": chain} if chain else {}
        step_of(bridge(), step).apply_async(results, **options)

    @app.task(name=CHORD, shared=False, lazy=False, ignore_result=True)  # type: ignore[untyped-decorator]
    def chord(group: str, body: dict[str, Any]) -> None:
        app.backend.fire(group, step_of(bridge(), body))

    @app.task(name=FAILED, shared=False, lazy=False, ignore_result=True)  # type: ignore[untyped-decorator]
    def failed(error: str, *, context: dict[str, Any]) -> None:
        request = Context({**context, "delivery_info": {}})
        app.backend.failed_in_go(request, TaskFailed(request.id, error, context["task"]))
