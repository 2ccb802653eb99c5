"""Tasks that end their process, eat memory or never end, beside those of ``chaos_app``."""

from __future__ import annotations

import os
import time

from chaos_app import app, mark

_hoard: list[bytes] = []


@app.task
def die(key: str) -> None:
    """End the process in the midst of everything."""
    mark(key)
    os._exit(1)


@app.task
def eat(key: str, mib: int) -> None:
    """Use that much memory and wait for what comes of it."""
    mark(key)
    hoard = []
    for _ in range(mib):
        hoard.append(bytearray(1 << 20))
        time.sleep(0.002)
    time.sleep(30)
    hoard.clear()


@app.task
def grow(key: str, mib: int) -> None:
    """Leave a leak of that size behind."""
    mark(key)
    _hoard.append(b"x" * (mib << 20))


@app.task
def hang(key: str) -> None:
    """Never end."""
    mark(key)
    time.sleep(3600)


@app.task
def mourn(error: str, key: str) -> str:
    """An OnError child."""
    mark(key)
    return error
