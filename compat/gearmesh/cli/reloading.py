"""Starts a command again after each change of the code in the working directory, for development."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gearmesh.wakeup import Wakeup
from gearmesh.worker.stop_signals import signals_to_stop

__all__ = ["Reloader", "reload_on_change"]

log = logging.getLogger("gearmesh.reload")

#: Seconds between two looks at the files.
LOOK_INTERVAL_S: Final = 0.5
#: Number of files that the reloader watches.
MAX_FILES: Final = 5000


class Reloader:
    """Runs a command, and starts it again when a Python file changes, even after the command has failed.

    Args:
        command: the words of the command.
        folder: the folder with the files. Folders with a ``pyvenv.cfg``, and folders with names such as ``.git``, are
            not watched.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._news = Wakeup()
        self._ending = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run the command until a signal ends the reloader; returns the exit code of the last run.

        That code is 0 if SIGTERM ended a process that was too young to handle signals.
        """
        for number in signals_to_stop():
            signal.signal(number, self._on_signal)
        while True:
            before = self._times()
            # A session of its own, so that signals of the terminal reach the command only once, through this process.
            process = self._process = subprocess.Popen(self._command, start_new_session=True)
            if self._ending:  # the signal came before the process was started
                process.terminate()
            changed = self._watch(process, before)
            if changed:
                log.warning("%s has changed: starting again", changed)
                process.terminate()
            code = process.wait()
            if self._ending:
                return 0 if code == -signal.SIGTERM else code

    def _watch(self, process: subprocess.Popen[bytes], before: dict[Path, int]) -> str:
        """Wait for a change and return the name of the file; ``""``: a signal came."""
        said = False
        while not self._ending:
            self._news.wait(LOOK_INTERVAL_S)
            if process.poll() is not None and not said and not self._ending:
                said = True
                log.warning(
                    "the command has ended with exit code %d; waiting for a change", process.returncode
                )
            now = self._times()
            for path in sorted(now.keys() | before.keys()):
                if now.get(path) != before.get(path):
                    return str(path.relative_to(self._folder))
        return ""

    def _on_signal(self, number: int, frame: object) -> None:
        self._ending = True
        self._news.set()
        if self._process is not None and self._process.poll() is None:
            # The command has no terminal. A second SIGTERM makes a worker stop at once, as a second Ctrl-C does.
            self._process.terminate()

    def _times(self) -> dict[Path, int]:
        found: dict[Path, int] = {}
        for path in self._files():
            try:
                found[path] = path.stat().st_mtime_ns
            except OSError:  # the file was deleted in between
                continue
            if len(found) >= MAX_FILES:
                break
        return found

    def _files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self._folder):
            folders[:] = [
                name
                for name in folders
                if not name.startswith((".", "__")) and not Path(folder, name, "pyvenv.cfg").exists()
            ]
            yield from (Path(folder, name) for name in names if name.endswith(".py"))


def reload_on_change(without: str) -> int:
    """Run the command line of this process without the option ``without``, again and again; returns an exit code."""
    words = [word for word in sys.argv[1:] if word != without]
    return Reloader([sys.executable, "-m", "gearmesh", *words], Path.cwd()).run()
