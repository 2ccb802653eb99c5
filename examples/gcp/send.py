"""Send a task, and then a delayed task, which waits in Pub/Sub."""

import time

from app import add

with add.app:
    print("2 + 3 =", add.delay(2, 3).get(timeout=30))
    began = time.monotonic()
    later = add.s(40, 2).set(countdown=3).apply_async()
    print("40 + 2 =", later.get(timeout=30), end="")
    print(f", {min(3, time.monotonic() - began):.0f} s later")
