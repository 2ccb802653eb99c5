"""The Go code that docs/howto/verify.md tells users to paste: it compiles, and has each echo task with its types."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conftest import missing
from tests.support.servers import ServerMissing
from tests.support.servers.pubsub import find_go

from gearmesh import App
from gearmesh.verify.echo import echo_tasks

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "verify.md"
#: As much of Machinery's package ``tasks`` as the code uses.
TASKS = """package tasks

import (
	"context"
	"time"
)

type Signature struct {
	Name    string
	Headers map[string]interface{}
}

func SignatureFromContext(ctx context.Context) *Signature { return nil }

func NewErrRetryTaskLater(message string, in time.Duration) error { return nil }
"""


def code() -> str:
    found = re.search(r"```go\n(package verify\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


def test_it_has_every_echo_task() -> None:
    with App("memory://") as app:
        echo_tasks(app)
        assert set(re.findall(r'"(gearmesh_\w+)":', code())) == set(app.tasks)


def test_it_compiles(tmp_path: Path) -> None:
    try:
        go = find_go()
    except ServerMissing as exc:
        missing(exc)
    files = {
        "go.mod": "module github.com/RichardKnop/machinery/v2\n\ngo 1.20\n",
        "tasks/tasks.go": TASKS,
        "verify/verify.go": code(),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run([go, "vet", "./..."], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    gofmt = Path(go).with_name("gofmt")
    if gofmt.exists():  # the wheel of Go may have none
        shown = subprocess.run([gofmt, "-l", "."], cwd=tmp_path, capture_output=True, text=True)
        assert shown.stdout == "", "gofmt would change the code"
