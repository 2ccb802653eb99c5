"""The tasks of the peer contract as a Celery app: a Celery worker where the table of scenarios wants a Python one.

Tasks whose results have types of their own are annotated as the contract says, as a Celery user would do; none is
written for Machinery.
"""

from __future__ import annotations

import os
from typing import Any, Final

from celery import Celery, Task

from gearmesh.celery import GoTask, configure
from gearmesh.testing.peer import Counter
from gearmesh.testing.peer.tasks import task_functions
from gearmesh.wire.types import dump

__all__ = ["ARGS", "make_contract_app"]

_SCALARS: Final = (
    "bool", "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "string",
)  # fmt: skip

#: The contract's tasks, and the Go types of their arguments: the manifest of a client.
ARGS: Final[dict[str, tuple[str, ...]]] = {
    **{f"echo_{name}": (name,) for name in _SCALARS},
    **{f"echo_{name}s": (f"[]{name}",) for name in _SCALARS},
    "echo_bytes": ("[]byte",),
    "noop": (),
    "panic": (),
    "add": ("...int64",),
    "multiply": ("...int64",),
    "sum_ints": ("[]int64",),
    "sum_floats": ("[]float64",),
    "concat": ("[]string",),
    "two": ("int64", "string"),
    "fail": ("string",),
    "on_error": ("string", "...string"),
    "retry_later": ("string", "int64"),
    "with_ctx": ("int64",),
    "sleep": ("int64",),
}


def make_contract_app(url: str, backend: str, queue: str, go_queue: str = "", retry_count: int = 0) -> Celery:
    """The app. ``go_queue``: where Go runs the contract's tasks, of which this app has none then."""
    app = Celery("contract", set_as_current=False)
    app.conf.update(broker_connection_retry_on_startup=True)
    go = {name: GoTask(go_queue, args, retry_count) for name, args in ARGS.items() if go_queue}
    configure(app, broker=url, backend=backend, go_tasks=go, queue=queue)
    if not go_queue:
        _bound_tasks(app)
        for name, fn in task_functions(Counter()):
            if name not in app.tasks:
                app.task(name=name, shared=False)(fn)
    return app


def _bound_tasks(app: Celery) -> None:
    """Register the tasks that need more than their arguments, in Celery's way."""

    @app.task(name="with_ctx", bind=True, shared=False)
    def with_ctx(self: Task, number: int) -> str:
        own = {k: v for k, v in (self.request.headers or {}).items() if k != "gearmesh"}
        told = ",".join(f'"{name}":{_json(value)}' for name, value in sorted(own.items()))
        return f"with_ctx|{{{told}}}|{number}"

    @app.task(name="retry_later", bind=True, shared=False)
    def retry_later(self: Task, key: str, ms: int) -> str:
        if not self.request.retries:
            raise self.retry(countdown=ms / 1000)
        return "done"


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(k)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    kind = {str: "string", bool: "bool", int: "int64"}[type(value)]
    return bytes(dump(kind, value)).decode()


if url := os.environ.get("CONTRACT_BROKER"):
    app = make_contract_app(
        url, os.environ["CONTRACT_BACKEND"], os.environ["CONTRACT_QUEUE"], os.environ["CONTRACT_GO_QUEUE"]
    )
