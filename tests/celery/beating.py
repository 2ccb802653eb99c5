"""The project with a schedule: an entry that names a Go task, and one that names a Celery task."""

from __future__ import annotations

import os

from .project import make_app

url, store, key = os.environ["PROJECT_BROKER"], os.environ["BEAT_STORE"], os.environ["BEAT_KEY"]
app = make_app(url, os.environ["PROJECT_BACKEND"])
note = app.signature("note_last", args=(store, f"{key}:go"), app=app)
app.conf.beat_schedule = {
    "of Go's": {"task": "multiply", "schedule": 0.3, "args": (3, 4), "options": {"link": note}},
    "of Celery's": {"task": "note", "schedule": 0.3, "args": (store, f"{key}:celery", 5)},
}
