"""Code that a Celery user types: it works, or one sentence names the right word."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

import gearmesh
from gearmesh import (
    App,
    AsyncResult,
    ChordResult,
    ConfigError,
    GroupResult,
    Json,
    LocalProtocolError,
    TaskError,
    TaskFailed,
    chain,
    chord,
    group,
    signature,
)
from gearmesh.habits import MODULE, PERIODIC, REVOKE, TASK, WAIT
from gearmesh.testing.waiting import eventually
from gearmesh.wire.codec import encode
from gearmesh.wire.names import EXPIRES_HEADER
from gearmesh.worker import Worker


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return (
        f"memory://{uuid4().hex}" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    )


@pytest.fixture
def app(url: str) -> Iterator[App]:
    with App(url, url) as app:
        app.task(add)
        app.task(total)
        app.task(broken)
        yield app


def add(a: int, b: int) -> int:
    return a + b


def total(*numbers: int) -> int:
    return sum(numbers)


def broken() -> None:
    raise KeyError("id")


# --- results


def test_names_of_a_result(app: App) -> None:
    with Worker(app, concurrency=2):
        result = app.tasks["add"].delay(1, 2)
        assert result.id == result.task_id == result.uuid
        assert result.get(timeout=10, propagate=False) == 3
        assert (result.status, result.result, result.info) == ("SUCCESS", 3, 3)
        assert app.AsyncResult(result.id).get(timeout=10) == 3
        failed = app.tasks["broken"].delay()
        error = failed.get(timeout=10, propagate=False)
        assert isinstance(error, TaskFailed)
        assert isinstance(failed.result, TaskFailed)
        assert failed.status == "FAILURE"
        members = group(app.tasks["add"].s(n, n) for n in range(3))()
        assert members.join(timeout=10) == [0, 2, 4]
        again = app.GroupResult(members.id)
        assert isinstance(again, GroupResult)
        assert again.get(timeout=10) == [0, 2, 4]
        assert [child.id for child in again.children] == [child.id for child in members.children]
        assert sorted(members.iterate(timeout=10)) == [0, 2, 4]
        assert sorted((member.id, value) for member, value in members.collect(timeout=10)) == sorted(
            zip([member.id for member in members.children], [0, 2, 4], strict=True)
        )
        some = group(app.tasks["add"].s(1, 1), app.tasks["broken"].s())()
        for values in (some.get(timeout=10, propagate=False), some.join(timeout=10, propagate=False)):
            assert (values[0], type(values[1])) == (2, TaskFailed)
        with pytest.raises(TaskFailed, match="'id'"):
            list(some.iterate(timeout=10))
        assert GroupResult.restore(members.id, app).get(timeout=10) == [0, 2, 4]
        steps = chain(app.tasks["add"].s(1, 2), app.tasks["add"].s(3))()
        assert steps.id == steps[1].id
        whole = chord([app.tasks["add"].s(1, 2)], app.tasks["total"].s())()
        assert (whole.id, whole.uuid) == (whole.body.id, whole.parent.id)
        assert app.tasks["add"].AsyncResult(result.id).get(timeout=10) == 3
        result.forget()
        assert app.AsyncResult(result.id).status == "PENDING"
    assert result.traceback is None
    with pytest.raises(
        TaskError, match=r"interval is False, expected seconds, 0 or more; write get\(timeout, propa"
    ):
        failed.get(10, False)
    with pytest.raises(TaskError, match="terminate is False, expected True: a running task is interrupted"):
        failed.revoke(terminate=False)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"GroupResult.restore\('group_x'\) has no app: use app.GroupResult"):
        GroupResult.restore("group_x")
    assert app.AsyncResult("task_nobody_sent").result is None
    with pytest.raises(TaskError, match="no group 'group_x' is stored"):
        app.GroupResult("group_x")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("parent", "a chain's result holds its steps"),
        ("children", "does not name the tasks that follow"),
        ("statsu", "did you mean 'status'"),
    ],
)
def test_a_name_that_a_result_cannot_have(app: App, name: str, sentence: str) -> None:
    with pytest.raises(AttributeError, match=f"an AsyncResult has no '{name}'.*{sentence}"):
        getattr(app.AsyncResult("task_x"), name)


def test_an_error_within_a_property_is_shown(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(uuids: object) -> None:
        raise AttributeError("the backend's own fault")

    monkeypatch.setattr(app, "states", broken)
    with pytest.raises(AttributeError, match=r"^the backend's own fault$"):
        _ = app.result("task_x").state


def test_a_result_without_an_app() -> None:
    with pytest.raises(TaskError, match=r"AsyncResult\('task_x'\) has no app: use app.AsyncResult\(uuid\)"):
        AsyncResult("task_x")


# --- workflows


def test_calls_of_workflows(app: App) -> None:
    add, total = app.tasks["add"], app.tasks["total"]
    assert add.s(1, 2)() == 3, "here and now"
    with Worker(app, concurrency=4):
        assert chain(add.s(1, 2), add.s(10))().get(timeout=10) == 13
        sent = chord([add.s(n, n) for n in range(3)])(total.s())
        assert isinstance(sent, ChordResult)
        assert sent.get(timeout=10) == 6
        assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=10) == [3, 7]
        assert total.map([1, 2])().get(timeout=10) == [1, 2]
        assert app.send_task("add", (1,), {"b": 4}).get(timeout=10) == 5
        assert app.signature("add", (1, 6)).delay().get(timeout=10) == 7
        assert add.s(1, 2).clone().set(task_id="task_mine").delay().id == "task_mine"
    with pytest.raises(TaskError, match="chunks would need one message with several calls"):
        add.chunks([(1, 2)], 10)


def test_more_arguments_stand_in_front(app: App) -> None:
    app.task(lambda *args: list(map(str, args)), name="seen")
    seen = app.tasks["seen"]
    part = seen.s("mine")
    assert part("here") == ["here", "mine"]
    assert part.clone(("more",)).args == ("more", "mine")
    assert part.args == ("mine",), "the partial signature has not changed"
    with Worker(app, concurrency=4):
        assert part.delay("in front").get(timeout=10) == ["in front", "mine"]
        assert part.apply_async(("in front",)).get(timeout=10) == ["in front", "mine"]
        add, total = app.tasks["add"], app.tasks["total"]
        assert add.s(b=2).delay(40).get(timeout=10) == 42
        assert add.s(1, b=2).clone(kwargs={"b": 3}).delay().get(timeout=10) == 4
        assert chain(add.s(1), add.s(10)).delay(2).get(timeout=10) == 13
        assert group(add.s(n) for n in range(3))(100).get(timeout=10) == [100, 101, 102]
        assert chord([add.s(1), add.s(2)], total.s(5)).delay(10).get(timeout=10) == 28
    with pytest.raises(TaskError, match=r"seen\.si\('mine'\) takes no more arguments: it was made by si"):
        seen.si("mine").delay("more")


def test_options_of_a_whole_workflow(app: App) -> None:
    got: list[Any] = []
    app.task(lambda *args: got.append(args), name="note")
    add, broken, note = app.tasks["add"], app.tasks["broken"], app.tasks["note"]
    steps = chain(add.s(1, 2), add.s(10).set(queue="own"), add.s(100))
    with Worker(app, ["machinery_tasks", "own", "given"], concurrency=2):
        steps.set(queue="given", headers={"a": "b"}).on_success(note.s("chain")).delay()
        chord([add.s(1, 1)], app.tasks["total"].s()).apply_async(link=note.s("chord"))
        chain(add.s(1, 2), broken.si(), add.s(1, 1)).apply_async(link_error=note.s("chain"))
        group(broken.s(), add.s(1, 1)).on_error(note.s("group")).delay()
        eventually(lambda: len(got) == 4)
    assert sorted(got, key=str) == [("'id'", "chain"), ("'id'", "group"), ("chain", 113), ("chord", 2)]
    queues = [step.options.queue for step in steps.set(queue="given").steps]
    assert queues == ["given", "own", "given"], "the parts' own options win"
    assert [step.options.queue for step in steps.steps] == [None, "own", None]
    late = chain(add.s(1, 2), group(add.s(1), add.s(2))).set(countdown=5)
    assert late.steps[0].options.countdown_ns == 5_000_000_000
    assert {member.options.countdown_ns for member in late.steps[1].members} == {None}
    with pytest.raises(TaskError, match="on_success of a whole group; one task can follow a group"):
        group(add.s(1, 1)).apply_async(link=note.s())
    for options in ({"task_id": "task_x"}, {"immutable": True}):
        with pytest.raises(TaskError, match="uuid and immutable belong to a signature"):
            steps.set(**options)
        with pytest.raises(TaskError, match="publish_many: uuid, on_success, on_error and immutable belong"):
            app.publish_many([add.s(1, 2)] * 2, **options)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("link", r"use the copy that sig\.on_success\(other\) gives"),
        ("link_error", r"use the copy that sig\.on_error\(other\) gives"),
        ("freeze", "it gets its id when it is sent"),
        ("si", "it is a signature already"),
        ("apply_asink", "did you mean 'apply_async'"),
    ],
)
def test_a_name_that_a_workflow_cannot_have(app: App, name: str, sentence: str) -> None:
    add = app.tasks["add"]
    for node in (add.s(), add.s() | add.s(), group(add.s()), chord([add.s()], add.s())):
        with pytest.raises(AttributeError, match=f"a {type(node).__name__} has no '{name}'.*{sentence}"):
            getattr(node, name)


def test_signature_without_an_app(app: App) -> None:
    add = app.tasks["add"]
    assert signature(add, (1, 2), queue="q").options.queue == "q"
    assert signature(add.s(2), (1,)).args == (1, 2)
    with pytest.raises(TaskError, match=r"signature\('add'\) has no app: use app\.signature\('add'\)"):
        signature("add", (1, 2))
    with pytest.raises(
        TaskError, match=r"signature: \{'task': 'add'\} is no task, expected a task or a signature"
    ):
        signature({"task": "add"})  # type: ignore[call-overload]


def test_link_and_link_error(app: App) -> None:
    got: list[Any] = []
    app.task(lambda *args: got.append(args), name="note")
    note = app.tasks["note"]
    with Worker(app, concurrency=1):
        app.tasks["add"].apply_async((1, 2), link=note.s("added"))
        app.tasks["broken"].apply_async(link_error=note.s("failed"))
        eventually(lambda: len(got) == 2)
    assert sorted(got, key=str) == [("'id'", "failed"), ("added", 3)]
    with pytest.raises(TaskError, match="link and on_success are one option"):
        app.tasks["add"].apply_async((1, 2), link=note.s(), on_success=note.s())


def test_apply_runs_here(app: App) -> None:
    result = app.tasks["add"].apply((1, 2))
    assert (result.get(timeout=0), result.status) == (3, "SUCCESS")
    failed = app.tasks["broken"].apply()
    with pytest.raises(TaskFailed, match="'id'"):
        failed.get(timeout=0)
    add, total = app.tasks["add"], app.tasks["total"]
    assert add.s(1, 2).apply().get(timeout=0) == 3
    assert add.s(2).apply((1,), link=total.s()).get(timeout=0) == 3
    assert chain(add.s(1, 2), add.s(3)).apply().get(timeout=0) == 6
    assert group(add.s(n) for n in range(3)).apply((1,)).get(timeout=0) == [1, 2, 3]
    assert chord([add.s(1, 1)], total.s()).apply().get(timeout=0) == 2
    with pytest.raises(TaskError, match="'far' is not registered in this app, so it cannot run eagerly"):
        app.remote("far").apply()
    hooked: list[str] = []
    app.before_publish(lambda sig: hooked.append(sig.Name))
    add.apply((1, 2))
    assert hooked == ["add"]


# --- the app


def test_conf(app: App, url: str) -> None:
    assert (app.conf.broker_url, app.conf.result_expires, app.conf["lease"]) == (url, 3600, 30.0)
    with pytest.raises(
        ConfigError,
        match=r"result_expires cannot be set: give it to App\(results_expire_in=…\), or to Config",
    ):
        app.conf.result_expires = 60
    with pytest.raises(
        AttributeError, match=r"app\.conf has no 'task_serializer': messages are Machinery's JSON"
    ):
        _ = app.conf.task_serializer
    with pytest.raises(AttributeError, match="did you mean 'result_expires'"):
        _ = app.conf.result_expire
    with pytest.raises(AttributeError, match="an App has no 'control': use the commands gearmesh workers"):
        _ = app.control
    with pytest.raises(
        ConfigError, match=r"exchange cannot be set: give it to App\(amqp=\{'exchange': …\}\)"
    ):
        app.conf["task_default_exchange"] = "x"  # type: ignore[index]
    with pytest.raises(
        ConfigError, match=r"beat_schedule cannot be set: declare periodic tasks by app\.periodic"
    ):
        app.conf.beat_schedule = {}
    with pytest.raises(AttributeError, match=r"no 'update': it cannot be written: give settings to App"):
        app.conf.update(timezone="UTC")
    assert app.conf.get("beat_schedule") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("task_default_queue", "which is Celery's: give it to App(default_queue=…)"),
        ("broker_url", "which is Celery's: give it to App(broker=…)"),
        ("result_expires", "which is Celery's: give it to App(results_expire_in=…)"),
        ("task_default_exchange", "which is Celery's: give it to App(amqp={'exchange': …})"),
        ("task_always_eager", "which is Celery's: use App(broker='eager')"),
        ("worker_concurrency", "which is Celery's: use the worker's --concurrency"),
    ],
)
def test_a_celery_setting_given_to_an_app_is_one_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        App("memory://habits", **{name: "secret"})  # type: ignore[arg-type]
    assert str(caught.value) == f"App has no setting {name!r}, {said}"
    assert App("memory://habits", result_backend="memory://habits").keeps_results
    masked = App("redis://:secret@127.0.0.1:1/0")
    assert "secret" not in repr(masked.conf)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Task", "decorate a function by @app.task"),
        ("on_after_configure", r"call app.periodic\(…\) after the tasks are declared"),
        ("add_periodic_task", r"use app.periodic\(spec, signature\)"),
        ("config_from_object", r"use App\(config=Config.load\(file\)\)"),
        ("worker_main", "use the command gearmesh worker"),
        ("send_tsak", "did you mean 'send_task'"),
    ],
)
def test_a_name_that_an_app_cannot_have(app: App, name: str, sentence: str) -> None:
    with pytest.raises(AttributeError, match=f"an App has no '{name}'.*{sentence}"):
        getattr(app, name)


def test_names_of_celerys_package() -> None:
    with pytest.raises(ImportError, match=r"gearmesh has no 'Celery': use gearmesh\.App"):
        from gearmesh import Celery  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gearmesh.nothing  # type: ignore[attr-defined]
    for made in (lambda: App("tasks"), lambda: App("tasks", broker="eager")):  # type: ignore[misc]
        with pytest.raises(
            ConfigError, match=r"App: it has no name, expected App\(broker, backend\) with URLs"
        ):
            made()


def test_a_module_of_tasks_without_a_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER", "GEARMESH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    app = App()
    task = app.task(add)
    app.periodic("@daily", task.s(1, 2))
    far = app.remote("far", "int64")
    workflow = chain(task.s(1, 2), far.s().set(queue="q"))
    assert task(1, 2) == 3
    assert task.apply((1, 2)).get(timeout=0) == 3
    for use in (
        task.s(1, 2).delay,
        workflow,
        lambda: app.result("task_x").state,
        lambda: app.conf.broker_url,
    ):
        with pytest.raises(ConfigError, match="broker is missing, expected a URL such as redis://"):
            use()
    for given in ({"lease": "3"}, {"leese": 3}, {"backend": "kafka://x"}):
        with pytest.raises(ConfigError, match=r"lease|leese|kafka"):
            App(**given)
    monkeypatch.setenv("BROKER", "eager")
    assert task.delay(1, 2).get(timeout=0) == 3


# --- declarations


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uuid": "task_same"}, "uuid belongs to a call"),
        ({"countdown": 3}, "countdown belongs to a call"),
        ({"serializer": "pickle"}, "has no option 'serializer': messages are Machinery's JSON"),
        ({"acks_late": False}, "acks_late is False, expected True"),
        (
            {"retrys": 3},
            r"did you mean 'retry'\? Expected one of .*hard_limit.*name.*rate.*soft_limit.*unique_for",
        ),
        ({"bind": "yes"}, "bind is 'yes', expected True or False"),
        ({"max_retries": 2, "retry": gearmesh.Retry()}, "max_retries and retry exclude each other"),
        ({"time_limit": 2, "hard_limit": 2}, "time_limit and hard_limit are one setting"),
    ],
)
def test_options_of_a_declaration(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        App("memory://declared").task(**options)(add)


def test_celerys_options_are_ours() -> None:
    app = App("memory://declared")
    task = app.task(
        soft_time_limit=1, time_limit=2, rate_limit=5, acks_late=True, autoretry_for=(OSError,), max_retries=7,
        retry_backoff=2, retry_backoff_max=60, retry_jitter=False,
    )(add)  # fmt: skip
    assert (task.soft_limit, task.hard_limit, task.pause) == (1, 2, 0.2)
    policy = task.retry_policy
    assert policy is not None
    assert (policy.max, policy.backoff, policy.first, policy.most) == (7, "exponential", 2, 60)
    assert (policy.jitter, policy.on) == (False, (OSError,))
    assert task.options.retry_count == 7


def test_a_request_explains_its_missing_attributes(app: App) -> None:
    said: list[str] = []

    @app.task(bind=True)
    def fetch(self: Any) -> None:
        for name in ("args", "hostname", "retrie"):
            with pytest.raises(AttributeError) as caught:
                getattr(self.request, name)
            said.append(str(caught.value))

    fetch.apply().get()
    assert said == [
        "a task's request has no 'args': use the task's own parameters; self.request.signature.Args has them as they "
        "were sent",
        "a task's request has no 'hostname': a message on Machinery's wire does not name its worker: "
        "use socket.gethostname()",
        "a task's request has no 'retrie'; did you mean 'retries'?",
    ]


def test_a_bound_task_tries_again(app: App) -> None:
    seen: list[tuple[str, int]] = []

    @app.task(bind=True, max_retries=2)
    def fetch(self: Any, url: str) -> str:
        seen.append((self.request.id, self.request.retries))
        try:
            raise OSError(f"no {url}")
        except OSError as exc:
            raise self.retry(exc=exc, countdown=0.01) from exc

    with Worker(app, concurrency=1):
        result = fetch.delay("home")
        with pytest.raises(TaskFailed, match="no home"):
            result.get(timeout=10)
    assert seen == [(result.id, 0), (result.id, 1), (result.id, 2)]
    assert fetch.declaration.parameters[0].name == "url"


def test_only_the_named_exceptions_are_retried(app: App) -> None:
    runs: list[str] = []

    @app.task(autoretry_for=(OSError,), retry_backoff=0.01, retry_jitter=False, max_retries=1)
    def flaky(kind: str) -> None:
        runs.append(kind)
        raise OSError(kind) if kind == "os" else ValueError(kind)

    with Worker(app, concurrency=1):
        for kind in ("os", "value"):
            with pytest.raises(TaskFailed, match=kind):
                flaky.delay(kind).get(timeout=10)
    assert runs == ["os", "os", "value"]


class Report(msgspec.Struct):
    title: str


def test_json_is_checked_before_it_is_sent(app: App) -> None:
    def summarise(report: Json[Report]) -> int:
        return len(report.title)

    task = app.task(summarise)
    for call in (
        lambda: task.delay({"title": 1}),
        lambda: (task.s({"title": 1}) | app.tasks["add"].s(1)).delay(),
    ):
        with pytest.raises(
            LocalProtocolError, match=r"'summarise', argument 1 \('report'\).* does not match Json"
        ):
            call()
    with Worker(app, concurrency=1):
        assert task.delay({"title": "abc"}).get(timeout=10) == 3  # type: ignore[arg-type]
        assert task.delay(Report("abcd")).get(timeout=10) == 4


# --- expiry


def test_a_task_that_has_expired_is_not_started(app: App) -> None:
    ran: list[str] = []
    app.task(lambda key: ran.append(key), name="note")
    note = app.tasks["note"]
    late = note.apply_async(("late",), expires=0.05)
    moment = note.apply_async(("moment",), expires=datetime.now(timezone.utc) + timedelta(seconds=0.05))
    good = note.apply_async(("good",), expires=timedelta(minutes=5))
    time.sleep(0.1)
    with Worker(app, concurrency=1):
        good.get(timeout=10)
        for result in (late, moment):
            with pytest.raises(TaskFailed, match="failed: expired"):
                result.get(timeout=10)
    assert ran == ["good"]


def test_an_expiry_is_a_header_that_survives_retries(app: App) -> None:
    times: list[float] = []

    @app.task(autoretry_for=(OSError,), default_retry_delay=0.2, max_retries=100)
    def flaky() -> None:
        times.append(time.monotonic())
        raise OSError

    with Worker(app, concurrency=1), pytest.raises(TaskFailed, match="failed: expired"):
        flaky.apply_async(expires=1.5).get(timeout=20)
    assert 2 <= len(times) <= 8


def test_a_message_carries_its_expiry_and_headers(url: str) -> None:
    with App(url, url) as app:
        seen: list[bytes] = []
        app.before_publish(lambda sig: seen.append(encode(sig)))
        app.remote("far").apply_async(
            expires=datetime(2030, 1, 2, tzinfo=timezone.utc), headers={"trace": "x"}
        )
        assert f'"Headers":{{"{EXPIRES_HEADER}":"2030-01-02T00:00:00Z","trace":"x"}}'.encode() in seen[0]
        with pytest.raises(TaskError, match="expires is 'soon', expected 0 or more seconds, or a timedelta"):
            app.remote("far").apply_async(expires="soon")
    with App("eager") as eager:
        eager.task(add)
        with pytest.raises(TaskFailed, match="expired"):
            eager.tasks["add"].apply_async((1, 2), expires=0).get(timeout=0)


# --- tasks in many modules


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "late_shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "orders.py").write_text(
        "from gearmesh import shared_task, task\n"
        "@task\ndef pack(count: int) -> int:\n    return count\n"
        "@shared_task(name='ship', queue='lorries')\ndef send(to: str) -> str:\n    return to\n"
    )
    (package / "tasks.py").write_text(
        "from gearmesh import task\nfrom late_shop.orders import pack\n@task\ndef bill() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.startswith("late_shop")]:
        del sys.modules[name]


def test_tasks_of_included_modules(modules: Path, url: str) -> None:
    from late_shop import orders  # type: ignore[import-not-found]

    with pytest.raises(
        TaskError,
        match=r"task 'pack' belongs to no app yet: import the module of the app that has include=\[",
    ):
        orders.pack.delay(1)
    assert orders.pack(1) == 1
    with App(url, url, include=["late_shop.orders"]) as app, Worker(app, ["machinery_tasks", "lorries"]):
        assert sorted(app.tasks) == ["pack", "ship"]
        assert orders.pack.delay(2).get(timeout=10) == 2
        assert orders.send.delay("home").get(timeout=10) == "home"
        app.autodiscover_tasks(["late_shop", "json"])
        assert sorted(app.tasks) == ["bill", "pack", "ship"]
        app.include("late_shop.orders")
        with pytest.raises(
            TaskError, match=r"task 'pack' belongs to another app already.*close that one first"
        ):
            App("memory://other").include("late_shop.orders")
    # Fixtures make an app for each test: the next app takes over the tasks of a closed one.
    with App(url, url, include=["late_shop.orders"]) as app, Worker(app):
        assert orders.pack.delay(3).get(timeout=10) == 3
        assert app.tasks["pack"] is orders.pack


@pytest.mark.parametrize("first", ["app", "tasks", "late"])
@pytest.mark.parametrize("form", ["from circle_shop.app import app", "import circle_shop.app"])
def test_an_app_that_includes_modules_which_import_it(first: str, form: str, tmp_path: Path) -> None:
    """Celery's usual layout, in every order of imports, each in a process of its own."""
    package = tmp_path / "circle_shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "app.py").write_text(
        "from gearmesh import App\n"
        "app = App('memory://circle', 'memory://circle', include=['circle_shop.tasks', 'circle_shop.late'])\n"
    )
    name = "app" if form.startswith("from") else "circle_shop.app.app"
    (package / "tasks.py").write_text(
        f"{form}\n@{name}.task\ndef add(a: int, b: int) -> int:\n    return a + b\n"
        f"{name}.periodic('@daily', add.s(1, 2), name='sums')\n"
    )
    (package / "late.py").write_text(
        f"from gearmesh import task\n{form}\n@task\ndef pack(count: int) -> int:\n    return count\n"
    )
    (tmp_path / "program.py").write_text(
        f"import circle_shop.{first}\n"
        "from circle_shop.app import app\n"
        "from gearmesh.worker import Worker\n"
        "assert list(app.periodics.entries) == ['sums']\n"
        "with app, Worker(app):\n"
        "    from circle_shop.late import pack\n"
        "    assert sorted(app.tasks) == ['add', 'pack']\n"
        "    assert app.tasks['add'].delay(1, 2).get(timeout=10) == 3\n"
        "    assert pack.delay(4).get(timeout=10) == 4\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(gearmesh.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_module_that_is_missing_or_broken_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tasks.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("broken_tasks", "missing_tasks"):
        with pytest.raises(ModuleNotFoundError, match=r"no_such_module_at_all|missing_tasks"):
            App("memory://broken", include=[name])


def test_a_name_that_is_taken_is_shown_with_its_module(app: App) -> None:
    def other() -> None: ...

    with pytest.raises(
        TaskError, match=r"task name 'add' is taken by .*\.add, so .*other needs another: @app\.task"
    ):
        app.task(other, name="add")


def test_names_to_import() -> None:
    with pytest.raises(ImportError, match=r"gearmesh has no 'crontab': use app\.periodic"):
        from gearmesh import crontab  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("name", MODULE)
def test_a_name_of_celerys_package_is_one_sentence(name: str) -> None:
    with pytest.raises(ImportError) as caught:
        getattr(gearmesh, name)
    assert str(caught.value) == f"gearmesh has no {name!r}: {MODULE[name]}"


@pytest.mark.parametrize("name", TASK)
def test_a_name_of_celerys_task_is_one_sentence(name: str) -> None:
    task = App("memory://habits").task(lambda: None, name="note")
    with pytest.raises(AttributeError) as caught:
        getattr(task, name)
    assert str(caught.value) == f"task 'note' has no {name!r}: {TASK[name]}"


@pytest.mark.parametrize("name", [*REVOKE, "nothing"])
def test_an_argument_of_celerys_revoke_is_one_sentence(name: str) -> None:
    app = App("memory://habits", "memory://habits")
    sentence = f": {REVOKE[name]}" if name in REVOKE else ""
    with pytest.raises(TaskError) as caught:
        app.revoke("task_x", **{name: True})  # type: ignore[arg-type]
    assert str(caught.value) == f"App.revoke has no argument {name!r}{sentence}"
    if name == "terminate":
        return  # a result takes True
    with pytest.raises(TaskError) as caught:
        app.result("task_x").revoke(**{name: True})
    assert str(caught.value) == f"revoke has no argument {name!r}{sentence}"


@pytest.mark.parametrize("name", WAIT)
def test_an_argument_of_celerys_get_is_one_sentence(name: str) -> None:
    app = App("memory://habits", "memory://habits")
    with pytest.raises(TaskError) as caught:
        app.result("task_x").get(timeout=0, **{name: True})
    assert str(caught.value) == f"get has no argument {name!r}: {WAIT[name]}"


@pytest.mark.parametrize("name", PERIODIC)
def test_an_option_of_celerys_beat_is_one_sentence(name: str) -> None:
    app = App("memory://habits")
    task = app.task(lambda: None, name="note")
    with pytest.raises(TaskError) as caught:
        app.periodic("@daily", task.s(), **{name: "x"})  # type: ignore[arg-type]
    assert str(caught.value) == f"App.periodic has no argument {name!r}: {PERIODIC[name]}"
    assert not app.periodics.entries


@pytest.mark.parametrize("spec", [5.0, timedelta(seconds=5)])
def test_a_schedule_in_seconds(spec: Any) -> None:
    app = App("memory://habits")
    with pytest.raises(ConfigError, match=r"expected text such as '\*/5 \* \* \* \*' or '@every 5s'$"):
        app.periodic(spec, app.task(lambda: None, name="note").s())


def test_a_setting_that_there_is_not(app: App) -> None:
    with pytest.raises(ConfigError, match=r"^app\.conf has no 'nonsense'$"):
        app.conf.nonsense = 1
    with pytest.raises(
        ConfigError, match=r"app\.conf has no 'results_expire'; did you mean 'result_expires'"
    ):
        app.conf.results_expire = 1
    with pytest.raises(ConfigError, match=r"app\.conf\.redis cannot be set: give it to App\(…\)"):
        app.conf.redis = {}


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int | None, r"annotation int \| None has no Go type, .* such as Json\[int \| None\]$"),
        (datetime, r"such as Json\[datetime\]$"),
        (list, r"such as Json\[list\]$"),
        (list[dict[str, int]], r"annotation list\[.*, or Json\[list\[dict\[str, int\]\]\]$"),
    ],
)
def test_an_annotation_that_needs_json(annotation: Any, said: str) -> None:
    def note(value: Any) -> None: ...

    note.__annotations__["value"] = annotation
    with pytest.raises(TaskError, match=said):
        App("memory://habits").task(note)
