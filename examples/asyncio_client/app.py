"""Tasks that mostly wait, and so run on an event loop."""

import asyncio
import os

from gearmesh import App

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)


@app.task
async def fetch(page: int) -> str:
    await asyncio.sleep(page / 20)  # stands for a request
    return f"page {page}"


@app.task
async def join(*pages: str) -> str:
    return ", ".join(pages)
