"""Both type checkers accept the right lines of ``calls.py``, and report each wrong one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CALLS = HERE / "calls.py"


def wrong_lines() -> set[int]:
    return {i for i, line in enumerate(CALLS.read_text().splitlines(), 1) if "  # wrong" in line}


def mypy(cache: Path) -> dict[int, str]:
    """Line to error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), str(CALLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"^{re.escape(str(CALLS.relative_to(ROOT)))}:(\d+): error: (.*)", done.stdout, re.M)
    assert found, done.stdout + done.stderr
    assert "remotes_gen.py" not in done.stdout
    return {int(line): text for line, text in found}


def pyright(folder: Path) -> dict[int, str]:
    """Line to error."""
    settings = {
        "include": [str(CALLS)],
        "extraPaths": [str(ROOT / "compat"), str(HERE)],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.10",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert found, done.stdout
    return {
        each["range"]["start"]["line"] + 1: f"{each['file']}: {each['message']}"
        for each in found
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("check", [mypy, pyright])
def test_right_and_wrong_calls(check: object, tmp_path: Path) -> None:
    assert callable(check)
    errors = check(tmp_path)
    expected = wrong_lines()
    assert {line: text for line, text in errors.items() if line not in expected} == {}
    assert expected - set(errors) == set(), "lines that are wrong and were accepted"
