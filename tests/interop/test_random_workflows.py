"""Workflows from a seed, sent from Python to a worker of either side: each must end as its shape says."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from gearmesh import App, TaskFailed, chain, chord, group
from gearmesh.errors import ResultError
from gearmesh.testing.peerproc import PeerProcess

from .scenarios import Side

#: Workflows of a run; ``GEARMESH_WORKFLOWS`` says otherwise.
COUNT = int(os.environ.get("GEARMESH_WORKFLOWS") or 40)
#: Another seed for each run; a difference prints its workflow.
SEED = int(os.environ.get("GEARMESH_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
WAIT_S = 60.0
#: The binding key of peers, which have no flag for another one.
PEERS_KEY = "machinery_task"


class Workflow(NamedTuple):
    """A workflow, and how it must end.

    Attributes:
        text: for people.
        node: to be sent.
        outcome: the value, or the error's text.
    """

    text: str
    node: Any
    outcome: Any


class Workflows:
    """Makes workflows: the same for the same seed."""

    def __init__(self, app: App, seed: int) -> None:
        self._random = random.Random(seed)
        self._add = app.remote("add", "...int64", results="int64")
        self._multiply = app.remote("multiply", "...int64", results="int64")
        self._fail = app.remote("fail", "string")

    def one(self) -> Workflow:
        """The next workflow."""
        return self._random.choice((self._chain, self._chain, self._group, self._chord, self._chord))()

    def _step(self, before: list[int], alone_share: float = 0.2) -> tuple[str, Any, list[int]]:
        """A call that gets the results ``before`` behind its own arguments, and its results."""
        args = [self._random.randrange(-9, 10) for _ in range(self._random.randrange(1, 4))]
        is_sum, alone = self._random.random() < 0.7, self._random.random() < alone_share
        task = self._add if is_sum else self._multiply
        result = 0 if is_sum else 1
        for number in [*args, *([] if alone else before)]:
            result = result + number if is_sum else result * number
        text = f"{'add' if is_sum else 'multiply'}{'!' if alone else ''}{tuple(args)}"
        return text, (task.si if alone else task.s)(*args), [result]

    def _chain(self) -> Workflow:
        texts, nodes = [], []
        value: list[int] = []
        error = ""
        for number in range(self._random.randrange(2, 6)):
            if not error and self._random.random() < 0.06:
                error = f"stop {number}"
                texts.append(f"fail({error!r})")
                nodes.append(self._fail.si(error))
                continue
            text, node, value = self._step(value)
            texts.append(text)
            nodes.append(node)
        return Workflow(" | ".join(texts), chain(*nodes), error or value[0])

    def _members(self) -> tuple[list[str], list[Any], list[int], str]:
        texts, nodes, values, error = [], [], [], ""
        for number in range(self._random.randrange(1, 9)):
            if not error and self._random.random() < 0.02:
                error = f"member {number}"
                texts.append(f"fail({error!r})")
                nodes.append(self._fail.s(error))
                continue
            text, node, value = self._step([])
            texts.append(text)
            nodes.append(node)
            values += value
        return texts, nodes, values, error

    def _group(self) -> Workflow:
        texts, nodes, values, error = self._members()
        return Workflow(f"group({', '.join(texts)})", group(nodes), error or values)

    def _chord(self) -> Workflow:
        texts, nodes, values, error = self._members()
        text, callback, result = self._step(values)
        texts = [f"chord([{', '.join(texts)}], {text})"]
        node = chord(nodes, callback)
        # The same flag of a callback decides whether it gets results and whether its follow-up task does.
        while not callback.immutable and self._random.random() < 0.3:
            text, step, result = self._step(result, 0.0)
            texts.append(text)
            node = chain(node, step)
        return Workflow(" | ".join(texts), node, error or result[0])


def ending(result: Any) -> Any:
    """The value that a workflow gave, or the text of its error."""
    try:
        value = result.get(timeout=WAIT_S)
    except TaskFailed as exc:
        return exc.error
    except ResultError as exc:
        return repr(exc)
    return list(value) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_workflows_end_as_their_shapes_say(
    worker: Side,
    broker: str,
    start_peer: Callable[..., PeerProcess],
    fresh_vhost: Callable[[], str],
    fresh_url: Callable[[], str],
    note: Callable[[str, str], None],
) -> None:
    results = fresh_url()
    url = results if broker == "redis" else fresh_vhost()
    start_peer(worker, url, "-mode", "worker", "-queue", "workflows", "-backend", results)
    settings: Any = {"amqp": {"binding_key": PEERS_KEY}}
    with App(url, results, default_queue="workflows", **settings) as app:
        made = Workflows(app, SEED)
        workflows = [made.one() for _ in range(COUNT)]
        sent = [app.send(each.node) for each in workflows]
        wrong = [
            f"{each.text}: {found!r}, expected {each.outcome!r}"
            for each, result in zip(workflows, sent, strict=True)
            if (found := ending(result)) != each.outcome
        ]
    note("workflows", f"{worker} worker, {broker}, seed {SEED}: {COUNT} workflows, {len(wrong)} differences")
    assert wrong == [], "\n".join(wrong[:5])
