"""A Celery app behind the interface of a peer: translates the table's requests into calls of Celery."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from celery import Celery, chain, chord, group
from celery.exceptions import TimeoutError

from gearmesh.celery.setup import bridge_of
from gearmesh.errors import GearmeshError
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import decode, encode, encode_state
from gearmesh.wire.types import load

__all__ = ["CeleryClient"]

Json = dict[str, Any]


class CeleryClient:
    """Answers the contract's verbs through an app's Celery API alone.

    Args:
        make: makes the app, given how often Go is to try its tasks again: a setting, and no option of a call.
    """

    def __init__(self, make: Callable[[int], Celery]) -> None:
        self._make = cache(make)
        self._app = self._make(0)

    def ask(self, request: Mapping[str, Any] | None = None, **fields: Any) -> Json:
        """As :meth:`gearmesh.testing.peerproc.PeerProcess.ask`."""
        asked = {**(request or {}), **fields}
        try:
            return {"OK": True, "N": 0, **getattr(self, f"_{asked['Op']}")(asked)}
        except TimeoutError:
            return {"OK": False, "N": 0, "Err": "Timeout reached"}
        except GearmeshError as exc:
            return {"OK": False, "N": 0, "Err": getattr(exc, "error", str(exc))}
        except Exception as exc:
            return {"OK": False, "N": 0, "Err": f"{type(exc).__name__}: {exc}"}

    # -- sending

    def _send(self, asked: Json) -> Json:
        return {"UUIDs": [self._step(asked["Sig"]).apply_async().id]}

    def _call(self, asked: Json) -> Json:
        result = self._step(asked["Sig"]).apply_async()
        return {"UUIDs": [result.id], **self._waited(result, asked)}

    def _chain(self, asked: Json) -> Json:
        sigs = asked["Sigs"]
        # In Machinery a step says whether the next one gets its results; in Celery that one says it.
        befores = (None, *sigs[:-1])
        steps = [self._step(sig, before) for sig, before in zip(sigs, befores, strict=True)]
        return self._waited(chain(*steps).apply_async(), asked)

    def _group(self, asked: Json) -> Json:
        result = group(self._step(sig) for sig in asked["Sigs"]).apply_async()
        result.save()
        return {"Raw": result.id, **self._waited(result, asked)}

    def _group_states(self, asked: Json) -> Json:
        restored = self._app.GroupResult.restore(asked["UUID"])
        states = bridge_of(self._app).backend.read([each.id for each in restored])
        assert len(states) == asked["Count"]
        return {"Raw": "[" + ",".join(encode_state(state).decode() for state in states if state) + "]"}

    def _chord(self, asked: Json) -> Json:
        body = self._step(asked["Callback"], asked["Callback"])
        return self._waited(chord([self._step(sig) for sig in asked["Sigs"]], body).apply_async(), asked)

    def _flood(self, asked: Json) -> Json:
        began = time.monotonic()
        for _ in range(asked["Count"]):
            self._step(asked["Sig"]).apply_async()
        return {"N": asked["Count"], "Seconds": time.monotonic() - began}

    # -- looking

    def _state(self, asked: Json) -> Json:
        (state,) = bridge_of(self._app).backend.read([asked["UUID"]])
        if state is None:
            return {"OK": False}
        assert self._app.AsyncResult(state.TaskUUID).state == state.State
        return {"State": state.State, "Raw": encode_state(state).decode()}

    def _pending(self, asked: Json) -> Json:
        with connect(bridge_of(self._app).gear.config) as connection:
            return _listed(connection.channel().pending(asked["Queue"]))

    def _delayed(self, asked: Json) -> Json:
        with connect(bridge_of(self._app).gear.config) as connection:
            return _listed(each.body for each in connection.channel().delayed())

    # -- from signatures, and to answers

    def _step(self, sig: Json, before: Json | None = None) -> Any:
        """Celery's signature for one of Machinery's. ``before``: the one whose results it is given."""
        args = [_value(arg["Type"], arg["Value"]) for arg in sig["Args"]]
        options: Json = {}
        if sig.get("UUID"):
            options["task_id"] = sig["UUID"]
        if sig.get("RoutingKey"):
            options["queue"] = sig["RoutingKey"]
        if sig.get("ETA"):
            options["eta"] = datetime.fromisoformat(sig["ETA"].replace("Z", "+00:00"))
        if sig.get("Headers"):
            options["headers"] = sig["Headers"]
        immutable = bool(before and before.get("Immutable"))
        app = self._make(sig.get("RetryCount", 0))
        step = app.signature(sig["Name"], args=args, options=options, immutable=immutable, app=app)
        for child in sig.get("OnSuccess") or ():
            step.link(self._step(child, sig))
        for child in sig.get("OnError") or ():
            step.link_error(self._step(child))
        return step

    def _waited(self, result: Any, asked: Json) -> Json:
        value = result.get(timeout=asked.get("TimeoutMs", 10_000) / 1000, interval=0.01)
        ids = [each.id for each in result] if isinstance(result, self._app.GroupResult) else [result.id]
        states = bridge_of(self._app).backend.read(ids)
        stored = [one for state in states if state is not None for one in state.Results or ()]
        values = [load(one.Type, one.Value) for one in stored]
        # Celery returns None for no stored result, the value of a single one, and a list of several.
        assert value in (values, values[0] if values else None)
        return {
            "Results": [json.loads(bytes(one.Value)) for one in stored],
            "Types": [one.Type for one in stored],
        }


def _value(kind: str, value: Any) -> Any:
    if kind in ("[]byte", "[]uint8"):
        if value is None:
            return b""
        return bytes(value) if isinstance(value, list) else b64decode(value)
    return [] if value is None and kind.startswith("[]") else value


def _listed(bodies: Iterable[bytes]) -> Json:
    found = [json.loads(encode(decode(body))) for body in bodies]
    return {"N": len(found), "Sigs": found}
