"""``examples/celery_app``: the diff applies, and the changed project works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gearmesh

from .processes import ROOT, CeleryProcess


def test_the_celery_app(redis_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "celery_app"
    shutil.copytree(ROOT / "examples" / "celery_app", folder)
    subprocess.run(["git", "apply", "join.diff"], cwd=folder, check=True)
    source = str(Path(gearmesh.__file__).parents[1])
    env = {"REDIS_URL": redis_url, "PYTHONPATH": os.pathsep.join((source, str(folder)))}
    stand_in = subprocess.Popen(
        [sys.executable, "-m", "gearmesh", "worker", "go_stand_in:app"], cwd=folder, env=os.environ | env
    )
    words = ("worker", "-P", "threads", "-c", "2", "-l", "info")
    try:
        with CeleryProcess(*words, broker="", app="proj", folder=folder, env=env):
            done = subprocess.run(
                [sys.executable, "send.py"],
                cwd=folder,
                env=os.environ | env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
    finally:
        stand_in.terminate()
        stand_in.wait(20)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Celery: HELLO!!",
        "Go: b'GIF89a'",
        "chord: picture 5, 5 bytes / picture 10, 10 bytes",
        "retried: fetched, 30 bytes",
        "refused: task 'resize', argument 2 as uint16: 70000 is not uint16: out of range, 0 to 65535",
    ]
