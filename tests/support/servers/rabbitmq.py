"""Launches RabbitMQ from Debian (3.10): a node and an epmd of its own, all their files in one folder."""

from __future__ import annotations

import glob
import itertools
import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from gearmesh.testing.servers import Server, ServerMissing, free_port

__all__ = ["RabbitServer", "find_rabbitmq"]

_SCRIPTS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
_LISTED: Final = {"queues": "rabbit_amqqueue", "exchanges": "rabbit_exchange", "bindings": "rabbit_binding"}
_ADVICE = "apt-get install rabbitmq-server"
#: Milliseconds after which RabbitMQ publishes a message anew whose delay had ended when it was killed. Its own value is
#: 3 minutes, perhaps in more than one of the delay queues that a message passes.
_REPUBLISH_MS: Final = 20_000


def find_rabbitmq() -> Path:
    """The folder with RabbitMQ's own scripts: ``GEARMESH_RABBITMQ_SBIN``, else where Debian has them.

    Debian's ``/usr/sbin/rabbitmq-server`` is not used: it changes the user and sends the output elsewhere.
    Raises ServerMissing.
    """
    found = os.environ.get("GEARMESH_RABBITMQ_SBIN") or max(glob.glob(_SCRIPTS), default="")
    if not os.access(Path(found, "rabbitmq-server"), os.X_OK) or not found:
        raise ServerMissing(f"no rabbitmq-server: {_ADVICE}")
    for program in ("epmd", "erl_call"):
        if shutil.which(program) is None:
            raise ServerMissing(f"no {program}, which comes with Erlang: {_ADVICE}")
    return Path(found)


class RabbitServer(Server):
    """One RabbitMQ node; a context manager that starts and removes it (some 15 s).

    Isolation is cheap: one server a run and a fresh :meth:`vhost` a test.
    Durable queues and their persistent messages survive :meth:`kill` and :meth:`restart`.

    Args:
        conf: more lines of rabbitmq.conf, e.g. ``["consumer_timeout = 60000"]``.
        plugins: names of plugins to enable, e.g. ``["rabbitmq_management"]``.
        tls: the settings of a TLS port: the files ``cacertfile``, ``certfile``, ``keyfile``, and other settings
            below ``ssl_options``, e.g. ``{"verify": "verify_peer", "fail_if_no_peer_cert": "true"}``;
            None opens no such port.
        port: TCP port of AMQP; None takes a free one.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: there is no RabbitMQ on this machine.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(
        self,
        *,
        conf: Sequence[str] = (),
        plugins: Sequence[str] = (),
        tls: Mapping[str, str | Path] | None = None,
        port: int | None = None,
        timeout: float = 90.0,
    ) -> None:
        self._sbin = find_rabbitmq()
        super().__init__("rabbitmq", port=port, timeout=timeout)
        self._conf = list(conf)
        self._plugins = list(plugins)
        self._tls = dict(tls or {})
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_port = 0
        self._dist_port = 0
        self._vhosts = itertools.count(1)
        #: The TCP port of TLS; 0 without ``tls``.
        self.tls_port = free_port() if tls else 0
        #: The Erlang node's name. Its host is fixed: a machine's own name may not resolve.
        self.node = f"{self.folder.name}@localhost"

    @property
    def url(self) -> str:
        """``amqp://guest:guest@127.0.0.1:<port>/``: the default vhost."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def url_of(self, vhost: str) -> str:
        """The URL of a vhost."""
        return self.url + quote(vhost, safe="")

    @property
    def tls_url(self) -> str:
        """``amqps://guest:guest@localhost:<tls_port>/``. The host is a name, as certificates want it."""
        if not self.tls_port:
            raise RuntimeError("this server was started without tls=…")
        return f"amqps://guest:guest@localhost:{self.tls_port}/"

    # --- asking and telling the running node

    def vhost(self, name: str = "") -> str:
        """Make a vhost where ``guest`` may do all; return its name. ``""`` chooses one; 30 ms."""
        name = name or f"v{next(self._vhosts)}"
        anything = '<<".*">>'
        self.evaluate(
            f'rabbit_vhost:add(<<"{name}">>, <<"test">>), '
            'rabbit_auth_backend_internal:set_permissions(<<"guest">>, '
            f'<<"{name}">>, {anything}, {anything}, {anything}, <<"test">>).'
        )
        return name

    def drop_vhost(self, name: str) -> None:
        """Delete a vhost with its queues; its connections are closed."""
        self.evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"test">>).')

    def close_connections(self, reason: str = "closed by a test") -> None:
        """Close each client's connection from the server's side, as ``rabbitmqctl`` does."""
        # One by one: RabbitMQ's own way to close all ends at the first one that has just gone by itself.
        self.evaluate(
            f'[catch rabbit_networking:close_connection(C, "{reason}") || C <- rabbit_networking:connections()].'
        )

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against this node (about 1 s) and return its output.

        Raises RuntimeError with the output if the command fails.
        """
        command = [str(self._sbin / "rabbitmqctl"), "--quiet", "--node", self.node, *args]
        return self._run(command, what=f"rabbitmqctl {args[0]}")

    def listing(
        self, what: Literal["queues", "exchanges", "bindings"], *columns: str, vhost: str = "/"
    ) -> list[dict[str, Any]]:
        """The output of ``rabbitmqctl list_<what> --formatter json`` for a vhost, in 30 ms instead of a second."""
        answer = self.evaluate(
            "F = fun({resource, _, _, N}) -> N; ('') -> <<>>; "
            "(L) when is_list(L) -> [case X of {K, T, V} -> [K, T, V]; _ -> X end || X <- L]; (X) -> X end, "
            "R = [maps:from_list([{K, F(V)} || {K, V} <- I]) || "
            f'I <- {_LISTED[what]}:info_all(<<"{vhost}">>, [{", ".join(columns)}])], '
            "binary_to_list(base64:encode(rabbit_json:encode(R)))."
        )
        rows: list[dict[str, Any]] = json.loads(b64decode(answer))
        return rows

    def evaluate(self, expression: str) -> str:
        """Evaluate an Erlang expression, which ends with a full stop, in the node (about 30 ms).

        Returns the value as Erlang prints it. Raises RuntimeError with the node's message if the node refuses it.
        """
        cookie = (self.folder / ".erlang.cookie").read_text().strip()
        command = ["erl_call", "-address", f"localhost:{self._dist_port}", "-c", cookie, "-r", "-e"]
        until = time.monotonic() + self._timeout
        while True:
            try:
                answer = self._run(command, what="erl_call", text=f"{expression}\n")
                break
            except RuntimeError as exc:  # a busy node refuses its visitors at times
                if "failed to connect" not in str(exc) or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        if not answer.startswith("{ok,"):
            raise RuntimeError(f"{expression} answered {answer}")
        return answer.removeprefix("{ok,").removesuffix("}").strip()

    def _run(self, command: list[str], *, what: str, text: str = "") -> str:
        self.pid  # noqa: B018  # says that it is not running
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env=os.environ | self._environment(),
            timeout=self._timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{what} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    # --- life

    def start(self) -> None:
        if self.running:
            return
        self._start_epmd()
        self._dist_port = free_port()
        super().start()

    def close(self) -> None:
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def _start_epmd(self) -> None:
        """Start a daemon of our own for the names of Erlang nodes: it ends with us, and no other node is in it."""
        if self._epmd is not None and self._epmd.poll() is None:
            return
        for _ in range(5):
            self._epmd_port = free_port()
            with self.log_path.open("ab") as output:
                self._epmd = subprocess.Popen(
                    ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            until = time.monotonic() + self._timeout
            while self._epmd.poll() is None and time.monotonic() < until:
                if self._epmd_serves():
                    return
                time.sleep(0.005)
            self._epmd.kill()
            self._epmd.wait()
        raise RuntimeError(f"epmd did not start on port {self._epmd_port}")

    def _epmd_serves(self) -> bool:
        command = ["epmd", "-port", str(self._epmd_port), "-names"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _command(self) -> list[str]:
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}"]
        if self._tls:
            lines.append(f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}")
            lines += [f"ssl_options.{name} = {value}" for name, value in self._tls.items()]
        (self.folder / "rabbitmq.conf").write_text("\n".join([*lines, *self._conf, ""]))
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        (self.folder / "env.conf").write_text("")
        (self.folder / "advanced.config").write_text(
            f"[{{rabbit, [{{dead_letter_worker_publisher_confirm_timeout, {_REPUBLISH_MS}}}]}}].\n"
        )
        return [str(self._sbin / "rabbitmq-server")]

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,  # where Erlang keeps its cookie
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # The script then becomes the Erlang machine, so that our process id is the node's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _ready(self, offset: int) -> bool:
        return b"Server startup complete" in self.log(offset)
