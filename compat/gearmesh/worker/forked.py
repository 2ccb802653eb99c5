"""Keep the worker's belongings out of the processes that its tasks fork.

A forked process starts as a copy of the worker: with its signal handlers, and in the middle of its task threads. It
must use neither. A handler would give the live worker's deliveries back to their queues, and a task thread that goes
on in the copy would run the jobs that wait behind the task a second time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn

__all__ = ["FORKS", "end_forked_process", "handle_signals"]

Handler = Callable[[int, Any], None]


class Forks:
    """Counts the forks that lie between this process and the one that imported this module.

    A task's thread compares the count before and after the task, which takes a tenth of the time of ``os.getpid()``.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.count += 1


#: The count of this process. It is global because a fork copies the whole process.
FORKS: Final = Forks()


def handle_signals(numbers: Iterable[int], handler: Handler) -> Callable[[], None]:
    """Install ``handler`` for this process alone.

    A process that is forked from it gets the handlers that were installed before. Call it in the main thread.

    Returns:
        A function that installs the earlier handlers again, for each signal whose handler is still ``handler``.
    """
    owner = os.getpid()
    before: dict[int, Any] = {}

    def only_here(number: int, frame: Any) -> None:
        if os.getpid() == owner:
            handler(number, frame)
        else:  # the signal came before the forked process had restored its handlers
            restore()
            os.kill(os.getpid(), number)

    def restore() -> None:
        for number, earlier in before.items():
            # A forked process may have installed its own handler, and may fork in turn.
            if signal.getsignal(number) is only_here:
                signal.signal(number, signal.SIG_DFL if earlier is None else earlier)

    for number in numbers:
        before[number] = signal.signal(number, only_here)
    _restore_in_forks(tuple(before), restore)
    return restore


def _restore_in_forks(numbers: Sequence[int], restore: Callable[[], None]) -> None:
    """Call ``restore`` in each process that is forked from now on, before these signals can arrive there.

    The forking thread blocks the signals meanwhile. Python forgets signals that arrive in the new process before
    it has set itself up: a SIGTERM that comes so soon, for example from a pool that ends, would be lost.
    """
    masks = threading.local()

    def block() -> None:
        masks.earlier = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.earlier)

    def restore_and_unblock() -> None:
        restore()
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore_and_unblock)


def end_forked_process(error: BaseException | None) -> NoReturn:
    """End a process that a task has forked and in which the task's function has returned, or raised ``error``.

    The exit code is the one that Python would end with: 0 after a return, 1 after an exception, and that of
    ``SystemExit``. No clean-up code of the worker runs.
    """
    code: object = 0
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)
