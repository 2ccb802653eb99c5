"""The channel of a Celery app in memory: calls that it publishes as signatures, and messages that it leaves alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from celery import Celery

from gearmesh.celery import configure
from gearmesh.celery.codec import from_wire
from gearmesh.celery.setup import bridge_of
from gearmesh.errors import ConfigError
from gearmesh.wire.codec import decode
from gearmesh.wire.state import PENDING


@pytest.fixture
def app() -> Iterator[Celery]:
    url = f"memory://{uuid.uuid4().hex}"
    app = Celery("unit", set_as_current=False)
    configure(app, broker=url, backend=url, go_tasks={"resize": "go_tasks"})

    @app.task(name="add", shared=False)  # type: ignore[untyped-decorator]
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    app.close()


def test_a_call_is_a_signature_with_its_pending_state(app: Celery) -> None:
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        sent = app.tasks["add"].apply_async((1, 2), connection=connection)
        (body,) = channel.pending("celery")
        sig = decode(body)
        assert (sig.UUID, sig.Name, [arg.Type for arg in sig.Args or ()]) == (
            sent.id,
            "add",
            ["int64", "int64"],
        )
        (state,) = bridge_of(app).read([sent.id])
        assert state is not None
        assert (state.State, state.TaskName) == (PENDING, "add")
        assert channel.tasks.bridge is bridge_of(app)
        assert channel.tasks is channel.tasks, "each channel has one publisher"


def test_a_call_without_a_result_has_no_state(app: Celery) -> None:
    with app.connection_for_write() as connection:
        sent = app.tasks["add"].apply_async((1, 2), connection=connection, ignore_result=True)
        assert bridge_of(app).read([sent.id]) == [None]


def test_a_go_task_goes_to_its_queue(app: Celery) -> None:
    with app.connection_for_write() as connection:
        app.send_task("resize", (640,), connection=connection)
        (body,) = connection.default_channel.pending("go_tasks")
        assert decode(body).Headers is None or "celery" not in (decode(body).Headers or {})


def test_a_channel_without_an_app_says_so(app: Celery) -> None:
    other = Celery("other", set_as_current=False)
    other.conf.update(broker_url="memory://nobody", broker_transport="gearmesh.celery:MemoryTransport")
    with other.connection_for_write() as connection, pytest.raises(ConfigError, match="need one"):
        connection.default_channel.tasks  # noqa: B018


def test_a_call_with_a_callback_keeps_its_properties(app: Celery) -> None:
    """An app with Go tasks once lost these properties."""
    with app.connection_for_write() as connection:
        link = app.tasks["add"].s(3)
        app.tasks["add"].apply_async((1, 2), connection=connection, link=link, app_id="mine")
        (body,) = connection.default_channel.pending("celery")
        assert from_wire(decode(body)).properties["app_id"] == "mine"
