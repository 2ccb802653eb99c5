"""``celery beat``: its entries may name Go's tasks as well as Celery's."""

from __future__ import annotations

from pathlib import Path

from gearmesh.celery.setup import bridge_of

from .conftest import Place
from .processes import CeleryProcess, eventually
from .test_crossing import noted


def test_beat(place: Place, key: str, tmp_path: Path) -> None:
    words = ("beat", "-s", str(tmp_path / "schedule"), "-l", "info", "--max-interval", "1")
    env = {"BEAT_STORE": place.store, "BEAT_KEY": key}
    backend = bridge_of(place.app).gear.config.backend
    with CeleryProcess(
        *words, broker=place.url, backend=backend, env=env, app="tests.celery.beating:app", ready="Starting"
    ):
        for name, line in (("go", "(12,)"), ("celery", "(5,)")):
            eventually(lambda name=name: len(noted(place, f"{key}:{name}")) >= 2)
            assert set(noted(place, f"{key}:{name}")) == {line}
