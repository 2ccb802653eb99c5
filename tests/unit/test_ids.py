"""New ids are random, of the form that UUIDs have, and never the same in two processes."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gearmesh.ids import new_uuid

FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_form() -> None:
    made = [new_uuid() for _ in range(1000)]
    assert all(map(FORM.fullmatch, made))
    assert len(set(made)) == 1000
    assert {each[19] for each in made} == set("89ab")


def test_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [
            each for some in pool.map(lambda _: [new_uuid() for _ in range(500)], range(20)) for each in some
        ]
    assert len(set(made)) == 10_000


@pytest.mark.parametrize("fork", [os.fork, ctypes.CDLL(None).fork], ids=["by Python", "past Python"])
def test_a_child_makes_its_own(fork: Callable[[], int]) -> None:
    new_uuid()  # some are spare now
    read, write = os.pipe()
    child = fork()
    if child == 0:
        os.write(write, " ".join(new_uuid() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(write, "w"), os.fdopen(read, "rb", buffering=0) as answer:
        theirs = answer.read(10_000).decode().split()
    assert len(theirs) == 100
    assert not {new_uuid() for _ in range(100)} & set(theirs)
