"""DynamoDB Local, Amazon's own emulator."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.servers.jars import DYNAMODB_LOCAL, find_java

from gearmesh.testing.servers import Server

__all__ = ["DynamoDBServer"]


class DynamoDBServer(Server):
    """One DynamoDB Local process; a context manager that starts and removes it (1 s).

    Args:
        durable: tables survive :meth:`stop`; False keeps them in memory.
        port: TCP port; None takes a free one.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: there is no Java here, or no Maven that fetches the emulator.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(self, *, durable: bool = False, port: int | None = None, timeout: float = 60.0) -> None:
        self._java, self._class_path = find_java(), DYNAMODB_LOCAL.class_path()
        super().__init__("dynamodb", port=port, timeout=timeout)
        self._storage = ["-dbPath", str(self.folder)] if durable else ["-inMemory"]

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:<port>``: the endpoint of a DynamoDB client."""
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        folder = self._class_path.removesuffix("/*")
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.library.path={folder}"]
        main = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
        flags = ["-sharedDb", "-disableTelemetry", "-port", str(self.port)]
        # It writes a file of its own into its working directory.
        enter = ["env", "-C", str(self.folder)]
        return [*enter, self._java, *options, "-cp", self._class_path, main, *self._storage, *flags]

    def _ready(self, offset: int) -> bool:
        if not _owns_port(self.pid, self.port):
            return False
        try:
            urllib.request.urlopen(self.endpoint, timeout=1).close()
        except urllib.error.HTTPError:
            return True  # it refuses requests without a signature
        except OSError:
            return False
        return True


def _owns_port(pid: int, port: int) -> bool:
    """True if a socket of the process listens on the port: another process may have taken it first."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    folder = f"/proc/{pid}/fd"
    for each in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{each}") in inodes:
                return True
        except OSError:
            continue  # closed meanwhile
    return False
