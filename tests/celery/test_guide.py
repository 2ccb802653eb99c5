"""Examples of Celery's documentation (first steps, next steps, the canvas guide), over the bridge and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

import gearmesh

from .conftest import Place
from .processes import CeleryProcess, eventually

WAIT = 60.0


def test_first_steps(place: Place) -> None:
    add = place.app.tasks["add"]
    result = add.delay(4, 4)
    assert result.get(timeout=WAIT) == 8
    assert result.ready()
    assert result.traceback is None
    failed = place.app.tasks["broken"].delay("oops")
    assert str(failed.get(timeout=WAIT, propagate=False)) == "oops"
    assert "ValueError" in failed.traceback


def test_next_steps(place: Place) -> None:
    add = place.app.tasks["add"]
    result = add.apply_async((2, 2), queue="celery", countdown=0.1)
    assert result.state == "PENDING"
    assert result.get(timeout=WAIT) == 4
    assert (result.state, result.failed(), result.successful()) == ("SUCCESS", False, True)
    assert add(2, 2) == 4
    assert add.signature((2, 2), countdown=0.1).delay().get(timeout=WAIT) == 4
    partial = add.s(2)
    assert partial.delay(8).get(timeout=WAIT) == 10
    with pytest.raises(TypeError):
        add.delay(4)


def guide(app: Any) -> dict[str, tuple[Any, Any]]:
    add, total, same = (app.tasks[name] for name in ("add", "total", "same"))
    return {
        "group": (group(add.s(i, i) for i in range(10)), [i + i for i in range(10)]),
        "chain": (chain(add.s(4, 4), add.s(8), add.s(10)), 26),
        "pipe": (add.s(4, 4) | add.s(8), 16),
        "independent": (add.si(2, 2) | add.si(4, 4) | add.si(8, 8), 16),
        "chord": (chord((add.s(i, i) for i in range(10)), total.s()), 90),
        "chord by pipe": (group(add.s(i, i) for i in range(10)) | total.s(), 90),
        "chord, then on": (add.s(4, 16) | group(add.s(i) for i in range(4)) | total.s() | add.s(1), 87),
        "immutable body": (chord((add.s(i, i) for i in range(3)), add.si(1, 1)), 2),
        "empty header": (chord([], total.s()), 0),
        "map": (total.map([list(range(10)), list(range(100))]), [45, 4950]),
        "starmap": (add.starmap(zip(range(10), range(10), strict=True)), [i + i for i in range(10)]),
        "chunks": (
            add.chunks(zip(range(100), range(100), strict=True), 10).group(),
            [[i + i for i in range(n, n + 10)] for n in range(0, 100, 10)],
        ),
        "a chain in a group": (group(add.s(1, 1) | add.s(2), same.s(5)), [4, 5]),
        "a group at the end of a member": (
            chord(group(chain(same.s(42), group(same.s(), same.s())), same.s(1)), same.s()),
            [[42, 42], 1],
        ),
        "a group in a chain in a chord": (chord(group(add.s(1, 1) | add.s(2), same.s(5)), total.s()), 9),
    }


NAMES = (
    "group", "chain", "pipe", "independent", "chord", "chord by pipe", "chord, then on", "immutable body",
    "empty header", "map", "starmap", "chunks", "a chain in a group", "a group in a chain in a chord",
    "a group at the end of a member",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_canvas_guide(place: Place, name: str) -> None:
    flow, expected = guide(place.app)[name]
    assert flow.apply_async().get(timeout=WAIT) == expected


def test_the_parents_of_a_chain(place: Place) -> None:
    add = place.app.tasks["add"]
    result = chain(add.s(2, 2), add.s(4), add.s(8))()
    assert result.get(timeout=WAIT) == 16
    assert result.parent.get(timeout=WAIT) == 8
    assert result.parent.parent.get(timeout=WAIT) == 4


def test_a_group_s_result(place: Place) -> None:
    add = place.app.tasks["add"]
    result = group(add.s(2, 2), add.s(4, 4))()
    assert result.get(timeout=WAIT) == [4, 8]
    assert (result.ready(), result.successful(), result.completed_count()) == (True, True, 2)
    result.save()
    restored = place.app.GroupResult.restore(result.id)
    assert [each.id for each in restored] == [each.id for each in result]
    restored.delete()
    assert place.app.GroupResult.restore(result.id, backend=place.app.backend) is None


def test_callbacks(place: Place, key: str) -> None:
    add, note = place.app.tasks["add"], place.app.tasks["note"]
    result = add.apply_async((2, 2), link=[add.s(16), note.si(place.store, key)])
    assert result.get(timeout=WAIT) == 4
    with place.redis() as client:
        eventually(lambda: client.llen(key) == 1)
    (first, *_) = eventually(lambda: result.children)
    assert first is not None


def test_msgpack(place: Place) -> None:
    result = place.app.send_task("echo", (b"\xff", {"a": [1]}), serializer="msgpack")
    assert result.get(timeout=WAIT) == [[b"\xff", {"a": [1]}], {}]


def test_compressed(place: Place) -> None:
    result = place.app.send_task("same", ("x" * 10_000,), compression="zlib")
    assert result.get(timeout=WAIT) == "x" * 10_000


def test_protocol_1(place: Place) -> None:
    message = place.app.amqp.as_task_v1("id-one", "add", (2, 3), {})
    with place.app.producer_or_acquire() as producer:
        place.app.amqp.send_task_message(producer, "add", message)
    assert place.app.AsyncResult("id-one").get(timeout=WAIT) == 5
    place.app.AsyncResult("id-one").forget()


PROJ = """\
from __future__ import absolute_import
from celery import Celery

app = Celery('proj',
             broker='amqp://',
             backend='rpc://',
             include=['proj.tasks'])

# Optional configuration, see the application user guide.
app.conf.update(
    result_expires=3600,
)
"""
TASKS = """\
from .celery import app


@app.task
def add(x, y):
    return x + y


@app.task
def mul(x, y):
    return x * y


@app.task
def xsum(numbers):
    return sum(numbers)
"""
CALLS = """\
from celery import chain, chord, group
from proj.tasks import add, mul, xsum

res = add.delay(2, 2)
print(res.get(timeout=10), res.failed(), res.successful(), res.state)
res = add.delay(2, '2')
print(repr(res.get(propagate=False, timeout=10)), res.failed(), res.successful(), res.state)
s1 = add.signature((2, 2), countdown=0.1)
print(s1.delay().get(timeout=10))
s2 = add.s(2)
print(s2.delay(8).get(timeout=10))
print(group(add.s(i, i) for i in range(10))().get(timeout=10))
g = group(add.s(i) for i in range(10))
print(g(10).get(timeout=10))
print(chain(add.s(4, 4) | mul.s(8))().get(timeout=10))
g = chain(add.s(4) | mul.s(8))
print(g(4).get(timeout=10))
print((add.s(4, 4) | mul.s(8))().get(timeout=10))
print(chord((add.s(i, i) for i in range(10)), xsum.s())().get(timeout=10))
print((group(add.s(i, i) for i in range(10)) | xsum.s())().get(timeout=10))
"""
JOIN = """
from gearmesh.celery import configure
configure(app, broker={broker!r}, backend={backend!r})
"""


def test_next_steps_as_printed(redis_url: str, tmp_path: Path) -> None:
    """The project and the calls of "Next Steps", letter for letter, and the call that makes it join."""
    folder = tmp_path / "proj"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "celery.py").write_text(PROJ + JOIN.format(broker=redis_url, backend=redis_url))
    (folder / "tasks.py").write_text(TASKS)
    source = os.pathsep.join((str(Path(gearmesh.__file__).parents[1]), str(tmp_path)))
    words = ("worker", "-P", "threads", "-c", "2", "-l", "INFO")
    with CeleryProcess(*words, broker="", app="proj", folder=tmp_path, env={"PYTHONPATH": source}):
        done = subprocess.run(
            [sys.executable, "-c", CALLS],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": source},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "4 False True SUCCESS",
        "TypeError(\"unsupported operand type(s) for +: 'int' and 'str'\") True False FAILURE",
        "4",
        "10",
        "[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]",
        "[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]",
        "64",
        "64",
        "64",
        "90",
        "90",
    ]
