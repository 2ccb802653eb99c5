"""The table of scenarios, every way that the peers allow."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gearmesh.testing.peerproc import PeerProcess

from .peers import Peers
from .scenarios import ABSENT, SCENARIOS, Json, Scenario, Side, Step

#: Seconds within which the expectation of a step must become true.
PATIENCE = 60.0
_WORD = re.compile(r"\{(\w+)(?::([^{}]+))?\}")


class Run:
    """A running scenario: the values of its ``{words}``, and the answers so far."""

    def __init__(self, queue: str) -> None:
        self._words: dict[str, str] = {"queue": queue, "other": f"{queue}-{uuid.uuid4().hex[:8]}-other"}
        self.answers: list[Json] = []

    def fill(self, value: Any) -> Any:
        """Return ``value`` with all words replaced by their values."""
        if isinstance(value, str) and value != ABSENT:
            return _WORD.sub(self._word, value)
        if isinstance(value, list):
            return [self.fill(each) for each in value]
        if isinstance(value, Mapping):
            return {key: self.fill(each) for key, each in value.items()}
        return value

    def _word(self, match: re.Match[str]) -> str:
        name, more = match[1], match[2]
        if more is None:
            return self._words[name]
        if name == "in":
            moment = datetime.now(timezone.utc) + timedelta(seconds=float(more))
            return moment.isoformat().replace("+00:00", "Z")
        if name == "answer":
            index, key = more.split(":")
            return str(self.answers[int(index)][key])
        assert name in ("id", "text"), match[0]
        prefix = "task_" if name == "id" else ""
        return self._words.setdefault(match[0], f"{prefix}{uuid.uuid4()}")


def differences(answer: Json, want: Json) -> list[str]:
    """Return the part of ``want`` that the answer has not."""
    found = []
    for key, value in want.items():
        if value == ABSENT:
            if key in answer:
                found.append(f"{key} is {answer[key]!r:.300}, expected none")
        elif answer.get(key) != value:
            found.append(f"{key} is {answer.get(key)!r:.300}, expected {value!r:.300}")
    return found


def take(step: Step, want: Json, run: Run, peer: PeerProcess) -> None:
    """Ask, again where the step says so, and compare."""
    want = run.fill(want)
    ask = run.fill(step.ask)
    deadline = time.monotonic() + PATIENCE
    pause = 0.005
    while True:
        began = time.monotonic()
        answer = peer.ask(ask)
        wrong = differences(answer, want)
        if not wrong or not step.until or time.monotonic() > deadline:
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
    assert not wrong, f"{ask} was answered {answer}: {'; '.join(wrong)}"
    took = time.monotonic() - began
    assert took >= step.least, f"answered after {took:.3f} s"
    if step.results is not None:
        stored = [result["Value"] for result in json.loads(answer["Raw"])["Results"]]
        assert stored == run.fill(step.results)
    if step.check is not None:
        step.check(answer)
    run.answers.append(answer)


def ids(scenario: Scenario) -> str:
    return scenario.name.replace(" ", "_")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_scenario(
    scenario: Scenario, client: Side, worker: Side, peers: Peers, start_peer: Callable[..., PeerProcess]
) -> None:
    pair = peers.pair(client, worker)
    working, queue = pair.worker, pair.queue
    if scenario.worker is not None:
        queue = f"own-{uuid.uuid4().hex[:8]}"
    run = Run(queue)
    if scenario.worker is not None and not scenario.refused(client):
        flags = [run.fill(flag) for flag in scenario.worker]
        working = start_peer(worker, pair.url, "-mode", "worker", "-queue", queue, *flags)
    for step, want in scenario.steps_for(client, worker):
        take(step, want, run, working if step.to == "worker" else pair.client)


def test_names_are_unique() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
