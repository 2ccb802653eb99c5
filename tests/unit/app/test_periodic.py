"""Periodic tasks are registered, and wrong ones are refused at once."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from gearmesh import App, chain, chord, group
from gearmesh.app.periodic import Periodic
from gearmesh.cron import Every
from gearmesh.errors import ConfigError, GearmeshError, LocalProtocolError, TaskError
from gearmesh.wire import gotime
from gearmesh.wire.signature import Arg, Signature


@pytest.fixture
def tasks(app: App) -> Any:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    @app.task
    def total(*numbers: int) -> int:
        return sum(numbers)

    return SimpleNamespace(add=add, total=total, far=app.remote("resize", "[]byte", "uint16"))


def give_up(exc: BaseException) -> bool:
    return False


def test_an_entry(app: App, tasks: Any) -> None:
    entry = app.periodic("*/5 * * * *", tasks.add.s(1, 2), name="sums", tz="UTC", catch_up=2)
    assert (entry.name, entry.spec, entry.catch_up) == ("sums", "CRON_TZ=UTC */5 * * * *", 2)
    assert list(app.periodics.entries) == ["sums"]
    assert app.periodics.entries["sums"] is entry
    noon = gotime.parse("2024-03-01T12:00:00Z")
    assert [gotime.format_ns(moment) for moment in entry.next_times(2, noon)] == [
        "2024-03-01T12:05:00Z",
        "2024-03-01T12:10:00Z",
    ]
    assert entry.lock_key("shop") == "machinery_lock_shopsumsCRON_TZ=UTC */5 * * * *"


def test_a_task_has_a_name_of_its_own(app: App, tasks: Any) -> None:
    assert app.periodic("@every 1s", tasks.add.s(1, 2)).name == "add"
    assert app.periodic("@every 1s", tasks.far.s(b"", 1)).name == "resize"
    with pytest.raises(ConfigError, match="has no name of its own, expected name="):
        app.periodic("@every 1s", group(tasks.add.s(1, 2)))


def test_workflows_have_new_ids_each_time(app: App, tasks: Any, sent: Any) -> None:
    members = [tasks.add.s(1, 2), tasks.add.s(3, 4)]
    for number, what in enumerate(
        (
            tasks.far.s(b"x", 2),
            chain(tasks.add.s(1, 2), tasks.add.s(3)),
            group(members),
            chord(members, tasks.total.s()),
        )
    ):
        entry = app.periodic("@daily", what, name=f"entry {number}")
        for _ in range(2):
            app._fire(entry, give_up)
    found = [each for sig in sent() for _, each in sig.walk()]
    # A chord's members carry the same callback.
    assert len(found) == 2 * (1 + 2 + 2 + 4)
    assert len({each.UUID for each in found}) == 2 * (1 + 2 + 2 + 3)


def test_a_signature_as_it_is_on_the_wire_loses_its_ids(app: App, sent: Any) -> None:
    child = Signature(UUID="task_child", Name="second")
    parent = Signature(UUID="task_fixed", Name="first", OnSuccess=(child, None), OnError=(child,))
    entry = app.periodic("@daily", parent)
    for _ in range(2):
        app._fire(entry, give_up)
    one, two = sent()
    assert (one.Name, one.RoutingKey) == ("first", "machinery_tasks")
    assert one.UUID.startswith("task_")
    assert "task_fixed" not in (one.UUID, two.UUID)
    assert one.UUID != two.UUID
    assert [each and each.UUID for each in one.OnSuccess] == ["", None]


def test_a_deep_chain_as_it_is_on_the_wire(app: App) -> None:
    sig = Signature(UUID="last", Name="x")
    for _ in range(3000):
        sig = Signature(UUID="one", Name="x", OnSuccess=(sig,))
    entry = app.periodic("@daily", sig)
    assert isinstance(entry.what, Signature)
    assert {each.UUID for _, each in entry.what.walk()} == {""}


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("* * * *", {}, "periodic 'x': spec '* * * *': 4 fields, expected five"),
        ("@daily", {"tz": "Nope"}, "periodic 'x': spec '@daily', tz: time zone 'Nope'"),
        ("TZ=UTC @daily", {"tz": "UTC"}, "expected only one of them"),
        ("@daily", {"name": ""}, "name is '', expected text"),
        ("@daily", {"name": "a}b"}, "lock (of program, name and spec) is 'machinery_lock_a}b@daily'"),
        ("@daily", {"catch_up": -1}, "catch_up is -1, expected a number of firings"),
        ("@daily", {"catch_up": True}, "catch_up is True, expected a number of firings"),
        ("@daily", {"catch_up": 1.5}, "catch_up is 1.5, expected a number of firings"),
        ("@daily", {"catch_up": timedelta(-1)}, "expected a number of firings"),
        ("@every 1s", {"catch_up": 1}, "@every counts from when a scheduler starts"),
    ],
)
def test_wrong_settings(app: App, tasks: Any, spec: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        app.periodic(spec, tasks.add.s(1, 2), **{"name": "x", **options})
    assert says in str(error.value)
    assert app.periodics.entries == {}


@pytest.mark.parametrize("catch_up", [None, 0, timedelta()])
def test_nothing_to_catch_up(app: App, tasks: Any, catch_up: Any) -> None:
    assert app.periodic("@every 1s", tasks.add.s(1, 2), catch_up=catch_up).catch_up is None


def test_names_are_unique(app: App, tasks: Any) -> None:
    app.periodic("@daily", tasks.add.s(1, 2), name="x")
    with pytest.raises(ConfigError, match="periodic 'x': the name is taken, by '@daily'; expected another"):
        app.periodic("@hourly", tasks.add.s(1, 2), name="x")


def test_periodic_refuses_signatures_that_cannot_be_sent(app: App, tasks: Any) -> None:
    other = App("memory://other")
    wrong: list[tuple[Any, type[GearmeshError], str]] = [
        (tasks.add.s(1), TaskError, "periodic 'x': task 'add'"),
        (tasks.far.s(b"", 70_000), LocalProtocolError, "70000 is not uint16"),
        (tasks.add.s(1, 2).set(uuid="task_1"), TaskError, "uuid is 'task_1', expected none"),
        (
            group(tasks.add.s(1, 2), tasks.add.s(1, 2).set(uuid="task_1")),
            TaskError,
            "uuid is 'task_1', expected none",
        ),
        (other.remote("x").s(), TaskError, "belongs to another app"),
        ("add", TaskError, "'add' is no signature, expected task.s"),
        (tasks.add, TaskError, "is no signature"),
        (Signature(), TaskError, "without a Name"),
        (Signature(Name="x", GroupUUID="group_1"), TaskError, "belongs to 'group_1'"),
        (Signature(Name="x", Args=(Arg("any", b"1"),)), LocalProtocolError, "Go could not read"),
    ]
    for what, kind, says in wrong:
        with pytest.raises(kind) as error:
            app.periodic("@daily", what, name="x")
        assert says in str(error.value)
    assert app.periodics.entries == {}


def test_a_watcher_gets_new_entries(app: App, tasks: Any) -> None:
    heard: list[str] = []
    stop = app.periodics.watch(lambda: heard.append("new"))
    app.periodic("@daily", tasks.add.s(1, 2), name="a")
    stop()
    stop()
    app.periodic("@daily", tasks.add.s(1, 2), name="b")
    assert heard == ["new"]


@pytest.mark.parametrize(
    ("catch_up", "until"),
    [
        (None, ["13:00", "14:00"]),
        (1, ["13:00", "14:00"]),
        (3, ["15:00", "16:00"]),
        (timedelta(minutes=5), ["13:00", "14:00"]),
        (timedelta(hours=5), ["17:00", "18:00"]),
    ],
)
def test_until_when_it_is_worth_it(app: App, tasks: Any, catch_up: Any, until: list[str]) -> None:
    entry = app.periodic("0 * * * *", tasks.add.s(1, 2), tz="UTC", catch_up=catch_up)
    due = entry.next_times(2, gotime.parse("2024-03-01T11:59:00Z"))
    assert [gotime.format_ns(moment)[11:16] for moment in entry.deadlines(due)] == until
    assert entry.deadlines([]) == []


def test_a_schedule_without_a_next_time_counts_as_due_in_366_days() -> None:
    nothing: Any = None
    never = Periodic("x", "x", nothing, _Never())
    assert never.next_after(0) == never.deadlines([0])[0] == 366 * 86_400 * 10**9


class _Never(Every):
    def __init__(self) -> None:
        super().__init__(1)

    def next(self, after_ns: int) -> int:
        none: Any = None
        return none  # type: ignore[no-any-return]

    def times(self, after_ns: int) -> Any:
        return iter(())
