"""One table of requests to a client and the answers that it must give, in Go or in Python.

Each scenario runs for every pair of a client and a worker. In requests and expectations ``{word}``
stands for a value that is made up for the run:

=================  =====================================================================
``{queue}``        the worker's own queue, also if the request names no queue
``{other}``        a second queue, which the worker reads only if its flags name it
``{id:NAME}``      a task id, the same for the same NAME
``{text:NAME}``    a fresh text
``{in:SECONDS}``   a moment, that far from the step's beginning
``{answer:N:K}``   field K of the answer to step N (0 is the first)
=================  =====================================================================

Where the two implementations differ on purpose, the scenario says so in a :class:`Differs`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["go", "python"]
Json = dict[str, Any]

#: Stands for a field that must not be in the answer.
ABSENT = "{absent}"


def arg(type: str, value: Any) -> Json:
    return {"Name": "", "Type": type, "Value": value}


def sig(name: str, *args: Json, **fields: Any) -> Json:
    return {"Name": name, "Args": list(args), **fields}


def i64(value: int) -> Json:
    return arg("int64", value)


def text(value: str) -> Json:
    return arg("string", value)


def call(signature: Json, **fields: Any) -> Json:
    return {"Op": "call", "Sig": signature, **fields}


def state(name: str) -> Json:
    return {"Op": "state", "UUID": f"{{id:{name}}}"}


def ok(*results: Any, types: list[str] | None = None) -> Json:
    want: Json = {"OK": True, "Results": list(results)}
    return want if types is None else {**want, "Types": types}


def err(text: str) -> Json:
    return {"OK": False, "Err": text}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request.

    Attributes:
        ask: the request. to: the end that gets it.
        want: fields that the answer must have.
        results: the stored results that the answer's ``Raw`` (a TaskState) must have.
        until: ask again until ``want`` holds, for 10 seconds at most.
        least: seconds that the answer must take at least.
        check: looks at the answer further; raises AssertionError.
    """

    ask: Json
    want: Json
    to: Literal["client", "worker"] = "client"
    results: list[Any] | None = None
    until: bool = False
    least: float = 0.0
    check: Callable[[Json], None] | None = None


#: The step after a refusal.
NOTHING_WAITS = Step(ask={"Op": "pending", "Queue": "{queue}"}, want={"OK": True, "N": 0})


@dataclass(frozen=True, kw_only=True)
class Differs:
    """A step whose answer depends on the implementation at one end.

    Attributes:
        step: its index. side: the implementation that, at ``end``, makes the answer ``want``.
        why: the quirk, in a sentence.
        ends: the scenario is over after this step, since nothing was sent.
    """

    end: Literal["client", "worker"]
    side: Side
    want: Json
    why: str
    step: int = 0
    ends: bool = False


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row.

    Attributes:
        steps: the requests, in order.
        worker: flags for a worker of the scenario's own; None: the shared worker runs it.
            A Go worker that has received an unreadable argument may never work again (v2), so
            scenarios with such an argument have their own worker, without flags.
        differs: in order of precedence.
    """

    name: str
    steps: tuple[Step, ...]
    worker: tuple[str, ...] | None = None
    differs: tuple[Differs, ...] = ()

    def refused(self, client: Side) -> bool:
        """True if this client sends nothing."""
        return any(d.ends and d.end == "client" and d.side == client for d in self.differs)

    def steps_for(self, client: Side, worker: Side) -> list[tuple[Step, Json]]:
        """Return the steps with the expected answers for this client and this worker."""
        steps: list[tuple[Step, Json]] = []
        ends: Mapping[str, Side] = {"client": client, "worker": worker}
        for i, step in enumerate(self.steps):
            found = next((d for d in self.differs if d.step == i and ends[d.end] == d.side), None)
            steps.append((step, found.want if found else step.want))
            if found and found.ends:
                return [*steps, (NOTHING_WAITS, NOTHING_WAITS.want)]
        return steps


def one(name: str, ask: Json, want: Json, **fields: Any) -> Scenario:
    """A scenario of one request."""
    own = {key: fields.pop(key) for key in ("least", "check") if key in fields}
    return Scenario(name=name, steps=(Step(ask=ask, want=want, **own),), **fields)


# --- arguments and results of every type ----------------------------------------------------------

_INTEGERS = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "int": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "uint": (0, 2**64 - 1),
}
_SCALARS: dict[str, list[Any]] = {
    **{name: sorted({low, 0, 1, high}) for name, (low, high) in _INTEGERS.items()},
    "bool": [True, False],
    # float32 by the fewest digits that say it, as Go prints it
    "float32": [0.0, 0.1, -1.5, 16777216.0, 3.4028235e38, -3.4028235e38, 1e-45, 1e21, 1e-7],
    "float64": [0.0, 0.1, -1.5, 2.0**53, 1.7976931348623157e308, 5e-324, 1e21, 1e-7],
    "string": ["", "hello", "<&>'\"\\/", "é😀\u2028\u2029\ufeff", "\x00\x01\b\f\n\r\t\x7f", "x" * 100_000],
}


def _echoes() -> tuple[Scenario, ...]:
    rows = []
    for name, values in _SCALARS.items():
        steps = [Step(ask=call(sig(f"echo_{name}", arg(name, v))), want=ok(v, types=[name])) for v in values]
        rows.append(Scenario(name=f"echo {name}", steps=tuple(steps)))
    for name, values in _SCALARS.items():
        if name == "uint8":
            continue  # base64, below
        lists: list[list[Any]] = [values, values[:1], []]
        steps = [
            Step(ask=call(sig(f"echo_{name}s", arg(f"[]{name}", v))), want=ok(v, types=[f"[]{name}"]))
            for v in lists
        ]
        steps.append(
            Step(ask=call(sig(f"echo_{name}s", arg(f"[]{name}", None))), want=ok([], types=[f"[]{name}"]))
        )  # Go: null is an empty slice
        rows.append(Scenario(name=f"echo []{name}", steps=tuple(steps)))
    for task, name in (("echo_bytes", "[]byte"), ("echo_bytes", "[]uint8"), ("echo_uint8s", "[]uint8")):
        given = [
            ("aGkA/w==", "aGkA/w=="),
            ("", ""),
            ([1, 2, 255], "AQL/"),
            ("AAEC\nAw==", "AAECAw=="),
            (None, ""),
        ]
        steps = [Step(ask=call(sig(task, arg(name, v))), want=ok(w, types=["[]uint8"])) for v, w in given]
        rows.append(Scenario(name=f"{task} {name}", steps=tuple(steps)))
    return tuple(rows)


# --- unreadable arguments -------------------------------------------------------------------------

_REFUSED = "Python never publishes an argument that Go cannot read"


def _poison(name: str, signature: Json, go: Json, *differs: Differs, refusal: Json | None = None) -> Scenario:
    """An argument that one end refuses: the Python client before it is sent, a worker as a failure."""
    refused = Differs(end="client", side="python", want=refusal or {"OK": False}, why=_REFUSED, ends=True)
    return one(
        name,
        call({**signature, "RoutingKey": "{queue}"}, TimeoutMs=30_000),
        go,
        worker=(),
        differs=(refused, *differs),
    )


_POISON = (
    _poison(
        "mistyped argument", sig("add", arg("int64", "x")), err("Reflect task args error: x is not int64")
    ),
    _poison(
        "unknown argument type",
        sig("add", arg("complex64", 1)),
        err("Reflect task args error: complex64 is not one of supported types"),
    ),
    _poison("null argument", sig("echo_int64", arg("int64", None)), {"OK": False}),
    _poison("float for an integer", sig("echo_int64", arg("int64", 1.5)), {"OK": False}),
    _poison(
        "int64 overflow",
        sig("echo_int64", arg("int64", 2**63)),
        err('Reflect task args error: strconv.ParseInt: parsing "9223372036854775808": value out of range'),
    ),
    _poison(
        "int8 overflow",
        sig("echo_int8", arg("int8", 128)),
        {"OK": False},
        Differs(
            end="worker",
            side="go",
            want=ok(-128, types=["int8"]),
            why="Go wraps an integer that does not fit",
        ),
    ),
    _poison("mixed slice", sig("echo_int64s", arg("[]int64", [1, "x"])), {"OK": False}),
    _poison("bad base64", sig("echo_bytes", arg("[]byte", "a")), {"OK": False}),
)

_MISMATCH = (
    one(
        "too many arguments",
        call(sig("echo_int64", i64(1), i64(2))),
        err("reflect: Call with too many input arguments"),
    ),
    one("too few arguments", call(sig("echo_int64")), err("reflect: Call with too few input arguments")),
    one(
        "another type than the function's",
        call(sig("echo_int64", text("x"))),
        err("reflect: Call using string as type int64"),
    ),
    one(
        "another type than the variadic's",
        call(sig("add", i64(1), text("x"))),
        err("reflect: cannot use string as type int64 in Call"),
    ),
    one("panic", call(sig("panic")), err("went wrong")),
    one(
        "no such task, ignored",
        call(sig("nobody", IgnoreWhenTaskNotRegistered=True), TimeoutMs=300),
        err("Timeout reached"),
    ),
)

# --- follow-up tasks ------------------------------------------------------------------------------


def _done(name: str, *results: Any) -> Step:
    return Step(ask=state(name), want={"OK": True, "State": "SUCCESS"}, results=list(results), until=True)


def _all_success(count: int) -> Callable[[Json], None]:
    def check(answer: Json) -> None:
        states = json.loads(answer["Raw"])
        assert [s["State"] for s in states] == ["SUCCESS"] * count
        assert [s["Results"][0]["Value"] for s in states] == list(range(count))

    return check


_GO_CHORDS = Differs(
    end="client",
    side="go",
    want={"OK": True, "Results": ABSENT},
    why="Go's ChordAsyncResult.GetWithTimeout returns nothing, and no error, once a member or the callback has failed",
)

_FOLLOWING = (
    Scenario(
        name="failure with OnError",
        steps=(
            Step(
                ask=call(sig("fail", text("nope"), OnError=[sig("on_error", UUID="{id:handler}")])),
                want=err("nope"),
            ),
            _done("handler", "handled:nope"),
        ),
    ),
    Scenario(
        name="OnError keeps its own arguments behind the text",
        steps=(
            Step(
                ask=call(
                    sig(
                        "fail",
                        text("<é>"),
                        Immutable=True,
                        OnError=[sig("on_error", text("a"), text("b"), UUID="{id:handler}")],
                    )
                ),
                want=err("<é>"),
            ),
            _done("handler", "handled:<é>,a,b"),
        ),
    ),
    Scenario(
        name="OnSuccess",
        steps=(
            Step(
                ask=call(
                    sig(
                        "add",
                        i64(1),
                        i64(2),
                        OnSuccess=[
                            sig("add", i64(10), UUID="{id:one}"),
                            sig("multiply", i64(10), UUID="{id:two}", Immutable=True),
                        ],
                    )
                ),
                want=ok(3, types=["int64"]),
            ),
            _done("one", 13),
            _done("two", 30),  # Go: the child's own Immutable is not looked at
        ),
    ),
    Scenario(
        name="OnSuccess of an immutable parent",
        steps=(
            Step(
                ask=call(
                    sig("add", i64(1), i64(2), Immutable=True, OnSuccess=[sig("add", i64(10), UUID="{id:c}")])
                ),
                want=ok(3),
            ),
            _done("c", 10),
        ),
    ),
    Scenario(
        name="failure without OnSuccess",
        steps=(
            Step(
                ask=call(sig("fail", text("x"), OnSuccess=[sig("add", i64(1), UUID="{id:never}")])),
                want=err("x"),
            ),
            Step(ask=state("never"), want={"OK": False}),
        ),
    ),
    one(
        "chain of three",
        {"Op": "chain", "Sigs": [sig("add", i64(1), i64(2)), sig("add", i64(10)), sig("multiply", i64(4))]},
        ok(52, types=["int64"]),
    ),
    one(
        "chain with an immutable first step",
        {"Op": "chain", "Sigs": [sig("add", i64(1), i64(2), Immutable=True), sig("add", i64(10))]},
        ok(10),
    ),
    one(
        "chain with an immutable middle step",
        {
            "Op": "chain",
            "Sigs": [
                sig("add", i64(1), i64(2)),
                sig("add", i64(10), Immutable=True),
                sig("multiply", i64(4)),
            ],
        },
        ok(4),
    ),
    one(
        "chain that passes two results on",
        {"Op": "chain", "Sigs": [sig("two", i64(7), text("é")), sig("two")]},
        ok(7, "é", types=["int64", "string"]),
    ),
    one(
        "chain that passes bytes and floats on",
        {
            "Op": "chain",
            "Sigs": [sig("echo_bytes", arg("[]byte", "aGkA/w==")), sig("echo_bytes"), sig("echo_uint8s")],
        },
        ok("aGkA/w==", types=["[]uint8"]),
    ),
    one(
        "chain that breaks",
        {"Op": "chain", "Sigs": [sig("add", i64(1)), sig("fail", text("stop"), Immutable=True), sig("add")]},
        # Go: the result is appended to fail's arguments, which then are too many
        err("reflect: Call with too many input arguments"),
    ),
    Scenario(
        name="group",
        steps=(
            Step(
                ask={"Op": "group", "Sigs": [sig("add", i64(n)) for n in range(5)], "Concurrency": 2},
                want=ok(*range(5), types=["int64"] * 5),
            ),
            Step(
                ask={"Op": "group_states", "UUID": "{answer:0:Raw}", "Count": 5},
                want={"OK": True},
                check=_all_success(5),
            ),
        ),
    ),
    one(
        "chord of ten",
        {"Op": "chord", "Sigs": [sig("add", i64(n)) for n in range(1, 11)], "Callback": sig("add")},
        ok(55, types=["int64"]),
    ),
    one(
        "chord gives its members' order",
        {
            "Op": "chord",
            "Sigs": [sig("echo_string", text(t)) for t in "abcdef"],
            "Callback": sig("on_error", text("0")),
        },
        ok("handled:0,a,b,c,d,e,f"),
    ),
    one(
        "chord with an immutable callback",
        {
            "Op": "chord",
            "Sigs": [sig("add", i64(1)), sig("add", i64(2))],
            "Callback": sig("add", i64(5), Immutable=True),
        },
        ok(5, types=["int64"]),
    ),
    Scenario(
        name="chord whose callback is followed",
        steps=(
            Step(
                ask={
                    "Op": "chord",
                    "Sigs": [sig("add", i64(1)), sig("add", i64(2))],
                    "Callback": sig("add", OnSuccess=[sig("multiply", i64(10), UUID="{id:after}")]),
                },
                want=ok(3),
            ),
            _done("after", 30),
        ),
    ),
    one(
        "chord whose callback fails",
        {"Op": "chord", "Sigs": [sig("add", i64(1))], "Callback": sig("echo_string"), "TimeoutMs": 30_000},
        err("reflect: Call using int64 as type string"),
        differs=(_GO_CHORDS,),
    ),
    one(
        "chord with one failing member",
        {
            "Op": "chord",
            "Sigs": [sig("add", i64(1)), sig("fail", text("no")), sig("add", i64(3))],
            "Callback": sig("add"),
            "TimeoutMs": 30_000,
        },
        err("no"),
        differs=(_GO_CHORDS,),
    ),
)

# --- when and where -------------------------------------------------------------------------------


def _waits(queue: str) -> Callable[[Json], None]:
    def check(answer: Json) -> None:
        assert answer["N"] == len(answer["Sigs"]) == 1
        waiting = answer["Sigs"][0]
        assert waiting["Name"] == "add"
        assert waiting["RoutingKey"].endswith(queue)
        assert waiting["Args"] == [i64(2**53 + 1)]

    return check


_WHEN_AND_WHERE = (
    one("ETA", call(sig("add", i64(7), ETA="{in:1.2}")), ok(7), least=1.1),
    one("ETA in the past", call(sig("add", i64(7), ETA="2026-11-21T13:03:42.123456789Z")), ok(7)),
    one(
        "retry twice",
        call(sig("fail", text("boom"), RetryCount=2), TimeoutMs=60_000),
        err("boom"),
        least=3.0,  # 1 s and 2 s
    ),
    one("RetryLater", call(sig("retry_later", text("{text:key}"), i64(300))), ok("done"), least=0.3),
    Scenario(
        name="custom queue",
        worker=("-custom-queue", "{other}"),
        steps=(
            Step(
                ask=call(
                    sig("add", i64(1), RoutingKey="{other}", OnSuccess=[sig("add", i64(1), UUID="{id:next}")])
                ),
                want=ok(1),
            ),
            # Where no queue is named it is the sender's default one, and the sender is the worker.
            Step(ask={"Op": "pending", "Queue": "{queue}"}, want={"OK": True, "N": 1}, until=True),
            Step(ask=state("next"), want={"OK": True, "State": "PENDING"}),
        ),
    ),
    Scenario(
        name="pending",
        steps=(
            Step(
                ask={"Op": "send", "Sig": sig("add", i64(2**53 + 1), RoutingKey="{other}")}, want={"OK": True}
            ),
            Step(ask={"Op": "pending", "Queue": "{other}"}, want={"OK": True}, check=_waits("other")),
            Step(ask={"Op": "pending", "Queue": "{other}nobody"}, want={"OK": True, "N": 0, "Sigs": []}),
        ),
    ),
    Scenario(
        name="delayed",
        steps=(
            Step(
                ask={"Op": "send", "Sig": sig("add", i64(2**53 + 1), ETA="2036-01-01T00:00:00Z")},
                want={"OK": True},
            ),
            Step(ask={"Op": "delayed"}, want={"OK": True}, check=_waits("")),
        ),
    ),
    Scenario(
        name="sent but not waited for",
        steps=(
            Step(
                ask={"Op": "send", "Sig": sig("add", i64(2), UUID="{id:sent}")},
                want={"OK": True, "UUIDs": ["{id:sent}"]},
            ),
            _done("sent", 2),
        ),
    ),
    Scenario(
        name="flood",
        worker=(),
        steps=(
            Step(
                ask={"Op": "flood", "Sig": sig("noop", RoutingKey="{queue}"), "Count": 300, "Concurrency": 3},
                want={"OK": True, "N": 300},
            ),
            Step(
                ask={"Op": "await", "Count": 300, "TimeoutMs": 20_000},
                to="worker",
                want={"OK": True, "N": 300},
            ),
            Step(ask={"Op": "await", "Count": 1, "TimeoutMs": 50}, to="worker", want=err("Timeout reached")),
        ),
    ),
)

_PLAIN = (
    one("add", call(sig("add", i64(1), i64(2))), ok(3, types=["int64"])),
    one("nothing returned", call(sig("noop")), ok()),
    one("two results", call(sig("two", i64(1), text("s"))), ok(1, "s", types=["int64", "string"])),
    one("sum of a slice", call(sig("sum_ints", arg("[]int64", [1, 2, 3]))), ok(6)),
    one("sum of floats", call(sig("sum_floats", arg("[]float64", [1, 2.5]))), ok(3.5, types=["float64"])),
    one("concat", call(sig("concat", arg("[]string", ["a", "", "é"]))), ok("aé")),
    one("sleep", call(sig("sleep", i64(60))), ok(60), least=0.06),
    one(
        "headers",
        call(sig("with_ctx", i64(1), Headers={"b": "x", "a": 1, "n": {"z": [1, "<&>"]}})),
        ok('with_ctx|{"a":1,"b":"x","n":{"z":[1,"\\u003c\\u0026\\u003e"]}}|1'),
    ),
    one("state of nothing", {"Op": "state", "UUID": "nobody"}, {"OK": False}),
)

SCENARIOS: tuple[Scenario, ...] = (*_PLAIN, *_FOLLOWING, *_WHEN_AND_WHERE, *_MISMATCH, *_POISON, *_echoes())
