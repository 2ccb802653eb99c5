"""ElasticMQ, a server with the interface of Amazon SQS."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

from tests.support.servers.jars import ELASTICMQ, find_java

from gearmesh.testing.servers import Server

__all__ = ["ElasticMQServer"]

_CONFIG = """\
include classpath("application.conf")
node-address {{ protocol = http, host = 127.0.0.1, port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1", sqs-limits = strict }}
rest-stats {{ enabled = false }}
generate-node-address = false
queues {{ }}
queues-storage {{ enabled = {durable}, path = "{folder}/queues.conf" }}
messages-storage {{ enabled = {durable}, uri = "jdbc:h2:{folder}/messages;WRITE_DELAY=0" }}
aws {{ region = us-east-1, accountId = 000000000000 }}
"""
_CREATED = re.compile(rb"Creating queue CreateQueueData\(([^,]+),")
_DELETED = re.compile(rb"Deleting queue (\S+)")
_RESTORED = re.compile(rb"Restored \d+ messages in queue (\S+)")


class ElasticMQServer(Server):
    """One ElasticMQ process; a context manager that starts and removes it (2 s).

    Args:
        durable: queues and messages survive :meth:`stop` and :meth:`kill`; False keeps them in memory.
        port: TCP port; None takes a free one.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: there is no Java here, or no Maven that fetches ElasticMQ.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(self, *, durable: bool = False, port: int | None = None, timeout: float = 60.0) -> None:
        self._java, self._class_path = find_java(), ELASTICMQ.class_path()
        super().__init__("elasticmq", port=port, timeout=timeout)
        self._durable = durable

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:<port>``: the endpoint of an SQS client."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The broker URL: the endpoint and an account, as the URLs of its queues begin."""
        return f"{self.endpoint}/000000000000"

    def _command(self) -> list[str]:
        config = self.folder / "elasticmq.conf"
        durable = str(self._durable).lower()
        config.write_text(_CONFIG.format(port=self.port, folder=self.folder, durable=durable))
        options = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dconfig.file={config}"]
        return [self._java, *options, "-cp", self._class_path, "org.elasticmq.server.Main"]

    def _ready(self, offset: int) -> bool:
        if b" started in " not in self.log(offset):  # another process may serve this port
            return False
        try:
            urllib.request.urlopen(f"{self.endpoint}/?Action=ListQueues", timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return not self._durable or self._queues() <= set(_RESTORED.findall(self.log(offset)))

    @property
    def stores(self) -> bool:
        """False once its writer of messages has failed: ElasticMQ then goes on, and keeps nothing for the next start.

        The writer reads a list of receipts that another thread changes. It is started anew without its queues, and
        answers that all is stored.
        """
        last_start = self.log().rpartition(b" started in ")[2]
        return b"ConcurrentModificationException" not in last_start

    def _queues(self) -> set[bytes]:
        """Return the names of the queues that clients have created and not deleted since.

        ElasticMQ answers requests before it has read its queues from its disk. Until then it reports that they do not
        exist.
        """
        log = self.log()
        return set(_CREATED.findall(log)) - set(_DELETED.findall(log))
