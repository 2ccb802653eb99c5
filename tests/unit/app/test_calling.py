"""A caller's input is checked before anything is published."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gearmesh import App, LocalProtocolError, TaskError
from gearmesh.types import Json, Uint16
from gearmesh.wire import gotime
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature

Sent = Callable[..., list[Signature]]


def args_of(sig: Signature) -> list[tuple[str, str]]:
    return [(arg.Type, bytes(arg.Value).decode()) for arg in sig.Args or ()]


def test_the_function_stays_callable(app: App) -> None:
    @app.task
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert add(1) == 3
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert app.tasks["add"] is add
    assert repr(add) == "<Task add>"


def test_two_functions_of_one_name(app: App) -> None:
    @app.task(name="x")
    def one() -> None: ...

    def two() -> None: ...

    with pytest.raises(TaskError, match="'x' is taken"):
        app.task(name="x")(two)
    assert app.task(name="x")(one.fn).fn is one.fn  # type: ignore[type-var]


def test_delay_and_apply_async_send_the_same_message(app: App, sent: Sent) -> None:
    @app.task(name="<é&>")
    def mix(a: int, b: str, c: list[float], d: Json[dict[str, int]], e: bytes) -> None: ...

    values = (1, "\u2028<é\x00", [1.5, 2.0], {"a": 1}, b"\x00\xff")
    mix.delay(*values)
    mix.apply_async(values, queue=app.default_routing_key)
    short, long = (encode(sig.evolve(UUID="task_x")) for sig in sent())
    assert short == long
    with pytest.raises(LocalProtocolError, match=r"task '<é&>', argument 2 \('b'\) as str: 5"):
        mix.delay(1, 5, [], {}, b"")  # type: ignore[arg-type]


def test_a_function_with_attributes_of_its_own(app: App, sent: Sent) -> None:
    def ask() -> None: ...

    ask.form = ask._form = "wizard"  # type: ignore[attr-defined]
    task = app.task(ask)
    task.delay()
    task.name = "other"
    task.delay()
    assert [sig.Name for sig in sent()] == ["ask", "other"]


def test_arguments_on_the_wire(app: App, sent: Sent) -> None:
    @app.task
    def mix(a: int, b: str = "b", *rest: float) -> None: ...

    mix.delay(1)
    mix.delay(1, "x", 1.5, 2)
    mix.delay(b="y", a=2)
    assert [args_of(sig) for sig in sent()] == [
        [("int64", "1")],
        [("int64", "1"), ("string", '"x"'), ("float64", "1.5"), ("float64", "2")],
        [("int64", "2"), ("string", '"y"')],
    ]


def test_a_gap_between_keywords_is_filled_with_the_default(app: App, sent: Sent) -> None:
    @app.task
    def three(a: int, b: int = 20, c: int = 30) -> None: ...

    three.delay(1, c=3)
    assert args_of(sent()[0]) == [("int64", "1"), ("int64", "20"), ("int64", "3")]


def test_not_annotated_is_by_the_value(app: App, sent: Sent) -> None:
    @app.task
    def loose(a, b, c):  # type: ignore[no-untyped-def]
        return a

    loose.delay(1, [1.5], b"x")
    assert args_of(sent()[0]) == [("int64", "1"), ("[]float64", "[1.5]"), ("[]byte", '"eA=="')]


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        ((1,), {}, TaskError, r"1 argument, no value for 'b'; it takes 2 to 3"),
        ((1, 2, [], 4), {}, TaskError, "4 arguments"),
        ((1, 2), {"x": 1}, TaskError, "no parameter 'x'"),
        ((1, 2), {"a": 1}, TaskError, "more than one value for parameter 'a'"),
        ((), {"b": 1.0}, TaskError, "no value for parameter 'a'"),
        (("1", 2.0), {}, LocalProtocolError, r"argument 1 \('a'\) as int: '1' is not int64"),
        ((True, 2.0), {}, LocalProtocolError, "True is not int64"),
        ((2**63, 2.0), {}, LocalProtocolError, "out of range"),
        ((None, 2.0), {}, LocalProtocolError, "None is not int64"),
        ((1, float("nan")), {}, LocalProtocolError, r"argument 2 \('b'\) as float: nan is not float64"),
        ((1, float("inf")), {}, LocalProtocolError, "inf"),
        ((1, {}), {}, LocalProtocolError, "{} is not float64"),
        ((1, datetime(2026, 1, 1)), {}, LocalProtocolError, "datetime"),
        ((1, 2.0, ["a", 1]), {}, LocalProtocolError, r"argument 3 \('c'\) as list\[str\]: .*1 is not string"),
        ((1, 2.0, "text"), {}, LocalProtocolError, "'text' is not"),
        ((1, 2.0, ["\ud800"]), {}, LocalProtocolError, "not Unicode"),
    ],
)
def test_wrong_calls_publish_nothing(
    app: App, sent: Sent, args: Any, kwargs: Any, error: type[Exception], text: str
) -> None:
    @app.task
    def strict(a: int, b: float, c: list[str] = []) -> None: ...  # noqa: B006

    with pytest.raises(error, match=text) as caught:
        strict.delay(*args, **kwargs)
    assert "'strict'" in str(caught.value)
    assert sent() == []


def test_not_annotated_and_not_sendable(app: App, sent: Sent) -> None:
    @app.task
    def loose(a):  # type: ignore[no-untyped-def]
        return a

    for value in (None, {}, [], [1, "x"], object(), datetime.now(timezone.utc), [[1]]):
        with pytest.raises(LocalProtocolError, match="'loose', argument 1"):
            loose.delay(value)
    assert sent() == []


def test_remote(app: App, sent: Sent) -> None:
    resize = app.remote("resize", "[]byte", "uint16", results=("[]byte", int), queue="images")
    resize.delay(b"x", 5)
    assert args_of(sent("images")[0]) == [("[]byte", '"eA=="'), ("uint16", "5")]
    with pytest.raises(LocalProtocolError, match=r"'resize', argument 2 as uint16: 70000"):
        resize.delay(b"x", 70000)
    with pytest.raises(TaskError, match="1 argument, no value"):
        resize.delay(b"x")
    with pytest.raises(TaskError, match="names of a remote task's parameters are not known"):
        resize.delay(b"x", width=5)
    with pytest.raises(TaskError, match="but not called here"):
        resize(b"x", 5)
    assert "resize" not in app.tasks
    free = app.remote("free")
    free.delay(1, "x")
    variadic = app.remote("add", "string", "...int64")
    variadic.delay("x", 1, 2, 3)
    assert [args_of(sig) for sig in sent()] == [
        [("int64", "1"), ("string", '"x"')],
        [("string", '"x"'), ("int64", "1"), ("int64", "2"), ("int64", "3")],
    ]
    with pytest.raises(TaskError, match="'complex64' is no Go type"):
        app.remote("x", "complex64")
    with pytest.raises(TaskError, match="is not the last"):
        app.remote("x", "...int64", "string")


def test_a_remote_task_by_a_function(app: App, sent: Sent) -> None:
    @app.remote
    def resize(image: bytes, width: Uint16, height: Uint16 = 480) -> bytes:
        raise NotImplementedError

    other = app.remote(resize, name="resize_image", queue="images")
    resize.delay(b"x", width=640)
    other.s(b"x", 1, 2).delay()
    (app.remote("load").s() | other.s(b"x")).delay()
    (second,) = sent("images")
    first, third = sent()
    assert (first.Name, args_of(first)) == (
        "resize",
        [("[]byte", '"eA=="'), ("uint16", "640"), ("uint16", "480")],
    ), "its defaults are sent: Go has none"
    assert (second.Name, second.RoutingKey, len(second.Args or ())) == ("resize_image", "images", 3)
    assert args_of((third.OnSuccess or ())[0]) == [("[]byte", '"eA=="')], (
        "results of the step before are appended after the arguments"
    )
    assert (resize.fn, app.tasks) == (None, {})
    assert list(inspect.signature(resize).parameters) == ["image", "width", "height"]
    with pytest.raises(TaskError, match="'resize' was given 1 argument, no value for 'width'"):
        resize.delay(b"x")  # type: ignore[call-arg]
    with pytest.raises(TaskError, match="has no parameter 'depth' that can be sent"):
        resize.delay(b"x", 1, depth=2)  # type: ignore[call-arg]
    with pytest.raises(TaskError, match="task 'resize' is remote: it can be sent, but not called here"):
        resize(b"x", 1)
    with pytest.raises(TaskError, match=r"remote: the types of <Task resize \(remote\)> are its own"):
        app.remote(resize, "int64")  # type: ignore[call-overload]
    with pytest.raises(TaskError, match="remote: expected the name of a task, or a function"):
        app.remote()  # type: ignore[call-overload]
    with pytest.raises(TaskError, match="task name is <class 'int'>, expected text"):
        app.remote(int)
    assert app.remote(name="plain").name == "plain"


def test_options_on_the_wire(app: App, sent: Sent) -> None:
    @app.task(queue="q", retry_count=3, headers={"a": "task", "b": True})
    def work() -> None: ...

    work.s().set(headers={"a": "signature"}, retry_timeout=5).apply_async(priority=7, uuid="task_mine")
    (sig,) = sent("q")
    assert (sig.UUID, sig.Priority, sig.RetryCount, sig.RetryTimeout) == ("task_mine", 7, 3, 5)
    assert {key: bytes(value) for key, value in (sig.Headers or {}).items()} == {
        "a": b'"signature"',
        "b": b"true",
    }
    work.apply_async(
        queue="r", ignore_unregistered=True, keep_on_error=True, message_group="g", headers={"l": ["x", 1]}
    )
    (sig,) = sent("r")
    assert (sig.IgnoreWhenTaskNotRegistered, sig.StopTaskDeletionOnError, sig.BrokerMessageGroupId) == (
        True,
        True,
        "g",
    )


def test_times(app: App) -> None:
    from gearmesh.app.options import options_of

    now = 1_700_000_000_000_000_000
    assert options_of("t", {}).due(now) == (None, 0)
    text, due = options_of("t", {"countdown": 1.5}).due(now)
    assert (text, due) == (gotime.format_ns(now + 1_500_000_000), now + 1_500_000_000)
    assert options_of("t", {"countdown": timedelta(minutes=1)}).due(now)[1] == now + 60_000_000_000
    eta = datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert options_of("t", {"eta": eta}).due(now) == ("2020-01-01T00:00:00Z", 0)  # past: at once
    assert options_of("t", {"countdown": 1}).over(options_of("t", {"eta": eta})).eta_ns is None
    odd = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=53, seconds=28)))
    assert options_of("t", {"eta": odd}).due(now) == ("2030-01-01T06:06:32Z", 1893477992 * 10**9)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"eta": datetime(2030, 1, 1)}, LocalProtocolError, "eta: .*no time zone"),
        ({"eta": "2030-01-01"}, TaskError, "expected an aware datetime"),
        (
            {"eta": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
            LocalProtocolError,
            "task 'work', eta: .*year outside",
        ),
        ({"countdown": -1}, TaskError, "0 or more seconds"),
        ({"countdown": float("nan")}, TaskError, "0 or more seconds"),
        ({"countdown": 1, "eta": datetime.now(timezone.utc)}, TaskError, "exclude"),
        ({"priority": 256}, TaskError, "from 0 to 255"),
        ({"priority": True}, TaskError, "whole number"),
        ({"retry_count": -1}, TaskError, "whole number"),
        ({"headers": {"a": 1.5}}, TaskError, "header 'a' is 1.5"),
        ({"headers": {"a": {"b": 1}}}, TaskError, "header 'a'"),
        ({"headers": {1: "a"}}, TaskError, "mapping of str"),
        ({"queue": 1}, TaskError, "expected str"),
        ({"immutable": 1}, TaskError, "True or False"),
        ({"on_success": "x"}, TaskError, "expected signatures"),
        ({"colour": "red"}, TaskError, "no option 'colour'"),
    ],
)
def test_wrong_options(
    app: App, sent: Sent, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    @app.task
    def work() -> None: ...

    with pytest.raises(error, match=text) as caught:
        work.apply_async(**options)
    assert "'work'" in str(caught.value)
    assert sent() == []


def test_before_publish(app: App, sent: Sent) -> None:
    @app.task
    def work() -> None: ...

    seen: list[str] = []

    @app.before_publish
    def look(sig: Signature) -> None:
        seen.append(sig.Name)

    @app.before_publish
    def change(sig: Signature) -> Signature:
        return sig.evolve(RoutingKey="elsewhere")

    work.delay()
    assert seen == ["work"]
    assert [sig.Name for sig in sent("elsewhere")] == ["work"]

    @app.before_publish
    def spoil(sig: Signature) -> Signature:
        return sig.evolve(UUID="other")

    with pytest.raises(TaskError, match="same UUID"):
        work.delay()
    assert len(sent("elsewhere")) == 1


def test_a_hook_that_raises_stops_the_publish(app: App, sent: Sent) -> None:
    @app.task
    def work() -> None: ...

    @app.before_publish
    def stop(sig: Signature) -> None:
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        app.publish_many([work.s()] * 3)
    assert sent() == []


def test_raw_signatures(app: App, sent: Sent) -> None:
    from gearmesh.wire.types import arg

    result = app.send(Signature(Name="go_only", Args=(arg("int64", 1),)))
    (sig,) = sent()
    assert sig.RoutingKey == "machinery_tasks"
    assert result.tasks[0].uuid == sig.UUID
    import msgspec

    from gearmesh.wire.signature import Arg

    killer = Signature(
        Name="t", OnSuccess=(Signature(Name="u", Args=(Arg("", "[]int64", msgspec.Raw(b"true")),)),)
    )
    with pytest.raises(LocalProtocolError, match="'u': Go could not read"):
        app.send(killer)
    assert len(sent()) == 1
