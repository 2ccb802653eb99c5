"""Tasks that end their process, eat memory or never end, beside those of ``chaos_app``."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.process
import os
import signal
import subprocess
import time

from chaos_app import app, mark, quick

_hoard: list[bytes] = []


@app.task
def die(key: str) -> None:
    """End the process in the midst of everything."""
    mark(key)
    os._exit(1)


@app.task
def eat(key: str, mib: int) -> None:
    """Use that much memory, then wait until the worker or the system ends the process."""
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


def _ended_at_once(child: multiprocessing.process.BaseProcess) -> int:
    """Send SIGTERM to a process that has just begun to sleep; its exit code."""
    child.start()
    child.terminate()
    child.join(60)
    assert child.exitcode is not None, "SIGTERM did not end the process"
    return child.exitcode


@app.task
def fork_process(key: str) -> int:
    """End a child that multiprocessing has forked; its exit code."""
    mark(key)
    return _ended_at_once(multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)))


@app.task
async def fork_in_coroutine(key: str) -> int:
    """Do the same where coroutines run."""
    mark(key)
    return _ended_at_once(multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)))


@app.task
def fork_pool(key: str) -> int:
    """Use a pool of forked processes, which it ends by SIGTERM."""
    mark(key)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, range(-10, 0)))


@app.task
def fork_bare(key: str, how: str) -> int:
    """Fork without a helper; both processes go on. The child's exit code."""
    mark(key)
    child = os.fork()
    if child == 0:
        if how == "raise":
            raise RuntimeError("raised in the forked process")
        if how == "exit":
            raise SystemExit(7)
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.task
def fork_twice(key: str) -> int:
    """Fork a process that forks in turn, and opens a file between; whether that file stays open in the inner one."""
    mark(key)
    outer = os.fork()
    if outer == 0:
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
        inner = os.fork()
        if inner == 0:
            for file in files:
                os.fstat(file)
            return 0
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
    return os.waitstatus_to_exitcode(os.waitpid(outer, 0)[1])


@app.task
def fork_sender(key: str) -> int:
    """Send a task from a forked process, by the app that it has inherited."""
    mark(key)

    def send() -> None:
        quick.delay(f"{key}/child")

    child = multiprocessing.get_context("fork").Process(target=send)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


@app.task
def subprocess_tree(key: str) -> int:
    """End a shell and the program that it runs; the shell's exit code."""
    mark(key)
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    time.sleep(0.2)
    shell.terminate()
    return shell.wait(5)


@app.task
def read_input(key: str) -> int:
    """Return the number of bytes that a child program reads from its standard input."""
    mark(key)
    return len(subprocess.run(["cat"], stdout=subprocess.PIPE, check=True, timeout=10).stdout)


@app.task
def kill_itself(key: str) -> None:
    """End the process by a signal that any process may have sent."""
    mark(key)
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def segfault(key: str) -> None:
    """End the process as a broken extension module does."""
    mark(key)
    ctypes.string_at(0)
