"""``/metrics`` of the dashboard: the numbers of the overview, for a program that sends the token."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.servers import ElasticMQServer
from tests.web.conftest import Show, make_app
from tests.web.visitor import TOKEN

from gearmesh import App
from gearmesh.config import SQSConfig
from gearmesh.metrics.series import QUEUE_SERIES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:uvicorn")


def test_queues(show: Show, app: App) -> None:
    visitor = show(app, sign_in=False)
    for _ in range(3):
        app.tasks["add"].delay(1, 2)
    answer = visitor.get("/metrics", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert set(families) <= set(QUEUE_SERIES)
    waiting = [
        sample.value
        for sample in families["gearmesh_queue_messages"].samples
        if sample.labels == {"queue": app.default_queue, "state": "waiting"}
    ]
    assert waiting == [3]
    (oldest,) = families["gearmesh_queue_oldest_message_seconds"].samples
    assert 0 <= oldest.value < 600


def test_sqs_counts_delayed_messages(
    show: Show, elasticmq: ElasticMQServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "true")
    with make_app(elasticmq.url, redis_url, default_queue="jobs", sqs=SQSConfig(create_queues=True)) as app:
        app.tasks["add"].apply_async((1, 2), countdown=600)
        answer = show(app, sign_in=False).get("/metrics", Authorization=f"Bearer {TOKEN}")
    assert 'gearmesh_queue_messages{queue="jobs",state="delayed"} 1.0' in answer.text.splitlines()


def test_only_with_the_token(show: Show, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = show(app, sign_in=False)
    assert visitor.get("/metrics").status == 401
    assert visitor.get("/", Authorization=f"Bearer {TOKEN}").status == 303
    for wrong in (f"Basic {TOKEN}", "Bearer", "Bearer wrong"):
        assert visitor.get("/metrics", Authorization=wrong).status == 401
    for _ in range(10):
        visitor.get("/metrics", Authorization="Bearer wrong")
    assert visitor.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 401
    monkeypatch.setattr("gearmesh.web.guard.MAX_WRONG_TOKENS", 100)
    assert visitor.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert visitor.sign_in().status == 303
    assert visitor.get("/metrics").status == 200
