"""The app, which does not use Go yet. join.diff has the lines that make it call Go."""

import os

from celery import Celery

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("proj", broker=REDIS_URL, backend=REDIS_URL, include=["proj.tasks"])
app.conf.update(result_expires=3600, timezone="UTC", broker_connection_retry_on_startup=True)
