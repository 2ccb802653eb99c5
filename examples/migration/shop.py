"""A producer. It calls ``thumbnail``, in Go or in Python, and copies a share of its calls for the shadow run."""

import os

from gearmesh import App
from gearmesh.shadow import copy_calls

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)
thumbnail = app.remote("thumbnail", "[]byte", "uint16", results="[]byte")

if __name__ == "__main__":
    copies = copy_calls(app, ["thumbnail"], sample=float(os.environ.get("SAMPLE", "1")))
    results = [thumbnail.delay(f"picture {n}".encode(), 9) for n in range(20)]
    print(
        sum(result.get(timeout=30) == b"picture " + str(n).encode()[:1] for n, result in enumerate(results))
    )
    copies.close()
