"""A child process of the supervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gearmesh.worker.control import ControlPipe

__all__ = ["EXIT_CONFIG", "ChildProcess"]

#: Exit code of a child that would fail again in the same way.
EXIT_CONFIG: Final = 78


class ChildProcess:
    """One run of a child process, from its start to its end.

    Args:
        module: run as ``python -m module SETUP``, where SETUP is a JSON object.
        setup: the object's members; ``control``, the child's end of a :class:`~.control.ControlPipe`, is added.
        on_exit: called in a thread when the process has ended.
        inherited: descriptors that the process inherits.
    """

    def __init__(
        self,
        module: str,
        setup: Mapping[str, Any],
        on_exit: Callable[[], None],
        *,
        inherited: Sequence[int] = (),
    ) -> None:
        self.started_at = time.monotonic()
        control = self._control = ControlPipe()
        try:
            # A session of its own: the terminal's Ctrl-C reaches the supervisor alone, which passes it on once.
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps({**setup, "control": control.child_end})],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[*inherited, control.child_end],
            )
        except BaseException:
            control.close()
            raise
        finally:
            control.started()

        def wait() -> None:
            process.wait()
            on_exit()

        threading.Thread(target=wait, name="gearmesh-child", daemon=True).start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def stopped(self) -> bool:
        """True while a signal such as SIGSTOP keeps the process from running; False if the system does not tell."""
        if not hasattr(os, "waitid"):  # Python has it on macOS from 3.13 on
            return False
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # it has ended
            return False

    def begin(self, broker: int) -> None:
        """See :meth:`.ControlPipe.begin`."""
        self.started_at = time.monotonic()
        self._control.begin(broker)

    def stop(self) -> None:
        """Tell the process to stop; the second time, to stop at once."""
        self._control.stop()

    def order(self, line: bytes) -> None:
        """Give the process an order other than to stop."""
        self._control.order(line)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def close(self) -> None:
        """Close the pipe to a process that has ended."""
        self._control.close()
