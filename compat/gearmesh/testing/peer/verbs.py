"""The verbs of the peer contract: each method takes a request and returns the fields of its answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec

from gearmesh.app.app import App
from gearmesh.app.plan import Plan, PlannedMessage
from gearmesh.errors import GearmeshError, LocalProtocolError, RemoteProtocolError, ResultTimeout, TaskFailed
from gearmesh.ids import new_uuid
from gearmesh.interfaces.transport import Channel
from gearmesh.results.async_result import AsyncResult, Result
from gearmesh.results.composite import ChainResult, ChordResult, GroupResult
from gearmesh.scheduler import Scheduler
from gearmesh.testing.peer.tasks import Counter
from gearmesh.transports.registry import connect
from gearmesh.wire import codec, gotime, workflow
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta
from gearmesh.wire.types import dump, load_args, result

__all__ = ["Answer", "Peer", "Request", "Sent"]

Answer = dict[str, Any]

#: Seconds to wait for a result if the request has no TimeoutMs.
RESULT_TIMEOUT_S = 10.0
TIMEOUT_TEXT = "Timeout reached"  # Go: the text of the error that its client returns
_NULL = msgspec.Raw(b"null")
#: Escapes in JSON: a pair of surrogates, one without the other, any other escape.
_SURROGATE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class Request(msgspec.Struct, frozen=True):
    """Holds one request of the interop suite. Signatures keep their text, so that number literals stay unchanged."""

    Op: str = ""
    Sig: msgspec.Raw = _NULL
    Sigs: list[msgspec.Raw] = []
    Callback: msgspec.Raw = _NULL
    TimeoutMs: float = 0
    Concurrency: int = 0
    UUID: str = ""
    Count: int = 0
    Queue: str = ""
    Raw: str = ""
    Spec: str = ""
    Name: str = ""
    GapMs: float = 0

    @property
    def timeout(self) -> float:
        """Seconds to wait for a result."""
        return self.TimeoutMs / 1000 if self.TimeoutMs > 0 else RESULT_TIMEOUT_S

    @property
    def sig(self) -> Signature:
        return _read(self.Sig, "Sig")

    @property
    def sigs(self) -> list[Signature]:
        if not self.Sigs:
            raise LocalProtocolError("request: Sigs is missing")
        return [_read(raw, "Sigs") for raw in self.Sigs]

    @property
    def callback(self) -> Signature:
        return _read(self.Callback, "Callback")


class Sent:
    """The result of a call that was sent, and the other fields of its answer."""

    def __init__(self, waits: Result[Any], **fields: Any) -> None:
        self.waits = waits
        self.fields = fields


class Peer:
    """Answers the requests of the interop suite for an app, one after another.

    Args:
        app: the app that sends the tasks and reads the states.
        counter: the counter of the worker in this process.
    """

    def __init__(self, app: App, counter: Counter) -> None:
        self._app = app
        self._counter = counter
        self._scheduler: Scheduler | None = None
        self._verbs: dict[str, Callable[[Request], Answer]] = {
            "send": lambda r: {"UUIDs": [self._send(r.sig).uuid]},
            "call": lambda r: self._wait(Sent(sent := self._send(r.sig), UUIDs=[sent.uuid]), r.timeout),
            "chain": lambda r: self._wait(self._chain(r.sigs), r.timeout),
            "group": lambda r: self._wait(self._group(r.sigs, r.Concurrency), r.timeout),
            "chord": lambda r: self._wait(self._chord(r.sigs, r.callback, r.Concurrency), r.timeout),
            "periodic": self._periodic,
            "state": self._state,
            "group_states": self._group_states,
            "pending": self._pending,
            "delayed": self._delayed,
            "decode": self._decode,
            "reflect": self._reflect,
            "flood": self._flood,
            "await": self._await,
            "latency": self._latency,
        }

    def answer(self, line: bytes) -> bytes:
        """Return the answer to one line, without a newline. It raises no error, whatever the line contains."""
        try:
            request = msgspec.json.decode(_SURROGATE.sub(_paired, line), type=Request)
            verb = self._verbs.get(request.Op)
            if verb is None:
                raise LocalProtocolError(f"request: unknown Op {request.Op!r}")
            fields = verb(request)
        except Exception as exc:  # every request gets an answer
            return self.refusal(exc)
        return _write(fields)

    @staticmethod
    def refusal(exc: Exception) -> bytes:
        """Make the answer with the text of an error."""
        return _write({"Err": _text(exc)})

    # --- sending -------------------------------------------------------------------------------

    def _send(self, sig: Signature) -> AsyncResult[Any]:
        sent = self._app.send(sig)
        assert isinstance(sent, AsyncResult)
        return sent

    def _chain(self, sigs: Sequence[Signature]) -> Sent:
        first = workflow.make_chain(sigs, new_uuid)
        steps: list[Result[Any]] = []
        step: Signature | None = first
        while step is not None:
            steps.append(self._app.result(step.UUID, step.Name))
            step = step.OnSuccess[0] if step.OnSuccess and len(steps) < len(sigs) else None
        self._send(first)
        return Sent(ChainResult(steps, self._app))

    def _group(self, sigs: Sequence[Signature], concurrency: int) -> Sent:
        group = f"group_{new_uuid()}"
        return self._members(workflow.make_group(sigs, group, new_uuid), group, concurrency)

    def _chord(self, sigs: Sequence[Signature], callback: Signature, concurrency: int) -> Sent:
        group = f"group_{new_uuid()}"
        members = workflow.make_chord(sigs, callback, group, new_uuid)
        sent = self._members(members, group, concurrency)
        header, named = sent.waits, members[0].ChordCallback
        assert isinstance(header, GroupResult)
        assert named is not None
        body = self._app.result(named.UUID, named.Name)
        return Sent(ChordResult(header, body, self._app), Raw=group)

    def _members(self, sigs: Sequence[Signature], group: str, concurrency: int) -> Sent:
        """Send a group in Go's order: the meta, all PENDING states, and then the members."""
        app = self._app
        plan = Plan(app, time.time_ns())
        for sig in sigs:
            ready = workflow.prepare(sig, queue=app.default_routing_key, new_id=new_uuid)
            _check(ready)
            eta = gotime.parse(ready.ETA) if ready.ETA is not None else 0
            plan.messages.append(PlannedMessage(ready, eta if eta > plan.now_ns else 0))
            plan.members.append((ready.UUID, ready.Name))
        uuids = [name for name, _ in plan.members]
        created = gotime.format_ns(plan.now_ns)
        plan.metas.append(GroupMeta(GroupUUID=group, TaskUUIDs=tuple(uuids), CreatedAt=created))
        plan.connections = max(concurrency, 1)
        app._publish(plan)
        chord = sigs[0].ChordCallback is not None
        members: list[Result[Any]] = [
            AsyncResult(sig.UUID, app, name=sig.Name, in_chord=chord) for sig in sigs
        ]
        return Sent(GroupResult(group, members, app), UUIDs=uuids, Raw=group)

    def _wait(self, sent: Sent, timeout: float) -> Answer:
        try:
            sent.waits.get(timeout)
            return {**sent.fields, **_values(sent.waits.finals)}
        except Exception as exc:
            return {**sent.fields, "Err": _text(exc)}

    def _periodic(self, request: Request) -> Answer:
        self._app.periodic(request.Spec, request.sig, name=request.Name)
        if self._scheduler is None:
            self._scheduler = Scheduler(self._app).start()
        return {}

    def close(self) -> None:
        """Stop the periodic tasks. A second call does nothing."""
        if self._scheduler is not None:
            self._scheduler.stop()

    # --- states and queues ---------------------------------------------------------------------

    def _state(self, request: Request) -> Answer:
        (state,) = self._app.states([request.UUID])
        if state is None:
            raise GearmeshError(f"the backend has no state of {request.UUID!r}")
        return {"State": state.State, "Raw": codec.encode_state(state).decode()}

    def _group_states(self, request: Request) -> Answer:
        meta = self._app.backend.read_group(request.UUID)
        if meta is None:
            raise GearmeshError(f"the backend has no group {request.UUID!r}")
        texts = []
        for member, state in zip(meta.TaskUUIDs, self._app.states(meta.TaskUUIDs), strict=True):
            if state is None:
                raise GearmeshError(f"the backend has no state of {member!r}")
            texts.append(codec.encode_state(state).decode())
        return {"Raw": f"[{','.join(texts)}]"}

    def _pending(self, request: Request) -> Answer:
        with self._channel() as channel:
            return _listing(channel.pending(request.Queue or self._app.default_queue))

    def _delayed(self, request: Request) -> Answer:
        with self._channel() as channel:
            return _listing([each.body for each in channel.delayed()])

    @contextmanager
    def _channel(self) -> Iterator[Channel]:
        with connect(self._app.config) as connection:
            yield connection.channel()

    # --- reading and writing -------------------------------------------------------------------

    def _decode(self, request: Request) -> Answer:
        text = request.Raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return {"Raw": codec.encode(codec.decode(text.encode())).decode()}

    def _reflect(self, request: Request) -> Answer:
        args = request.sig.Args or ()
        results = [result(arg.Type, value) for arg, value in zip(args, load_args(request.sig), strict=True)]
        return {"Results": [one.Value for one in results], "Types": [one.Type for one in results]}

    # --- load ----------------------------------------------------------------------------------

    def _flood(self, request: Request) -> Answer:
        sig = request.sig.evolve(UUID="")
        lanes = max(request.Concurrency, 1)
        shares = [request.Count // lanes + (i < request.Count % lanes) for i in range(lanes)]

        def publish(share: int) -> None:
            for _ in range(share):
                self._send(sig)

        began = time.monotonic()
        with ThreadPoolExecutor(lanes, "gearmesh-flood") as pool:
            list(pool.map(publish, shares))
        return {"Seconds": time.monotonic() - began, "N": request.Count}

    def _await(self, request: Request) -> Answer:
        began = time.monotonic()
        reached, seen = self._counter.take(request.Count, request.timeout)
        answer: Answer = {"Seconds": time.monotonic() - began, "N": seen}
        return answer if reached else {**answer, "Err": TIMEOUT_TEXT}

    def _latency(self, request: Request) -> Answer:
        sig, gap = request.sig.evolve(UUID=""), request.GapMs / 1000
        began = time.monotonic()
        pause = threading.Event()

        def one(number: int) -> float | None:
            pause.wait(max(began + number * gap - time.monotonic(), 0))
            sent = time.monotonic()
            try:
                self._send(sig).get(request.timeout)
            except GearmeshError:
                return None
            return (time.monotonic() - sent) * 1000

        with ThreadPoolExecutor(min(request.Count, 64) or 1, "gearmesh-latency") as pool:
            took = list(pool.map(one, range(request.Count)))
        good = sum(ms is not None for ms in took)
        answer: Answer = {"Results": took, "Seconds": time.monotonic() - began, "N": good}
        return answer if good == len(took) else {**answer, "Err": f"{len(took) - good} gave no result"}


def _paired(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]  # Go: a surrogate without its other half becomes U+FFFD


def _write(fields: Answer) -> bytes:
    return msgspec.json.encode({"OK": "Err" not in fields, **fields, "N": fields.get("N", 0)})


def _read(raw: msgspec.Raw, field: str) -> Signature:
    if bytes(raw) == b"null":
        raise LocalProtocolError(f"request: {field} is missing")
    return codec.decode(bytes(raw))


def _check(sig: Signature) -> None:
    """Refuse a signature that Go could not read, as :meth:`gearmesh.App.send` does."""
    for _, each in sig.walk():
        try:
            load_args(each)
        except RemoteProtocolError as exc:
            raise LocalProtocolError(f"task {each.Name!r}: Go could not read an argument: {exc}") from exc


def _values(finals: Sequence[AsyncResult[Any]]) -> Answer:
    """Write all results of tasks that have succeeded, in Go's form."""
    typed = [one for final in finals for one in final.results or ()]
    answer: Answer = {"Results": [dump(one.type, one.value) for one in typed]}
    return {**answer, "Types": [one.type for one in typed]} if typed else answer


def _listing(bodies: Sequence[bytes]) -> Answer:
    return {"Sigs": [msgspec.Raw(codec.encode(codec.decode(body))) for body in bodies], "N": len(bodies)}


def _text(exc: Exception) -> str:
    if isinstance(exc, ResultTimeout):
        return TIMEOUT_TEXT
    text = exc.error if isinstance(exc, TaskFailed) else str(exc)
    return text.encode("utf-8", "replace").decode() or repr(exc)
