"""Celery calls Go, workflows cross between the two, and gearmesh refuses a value that Go could not take."""

from celery import chain, chord
from proj.celery import app
from proj.tasks import album, describe, fetch, shout

print("Celery:", shout.delay("hello", 2).get(timeout=10))
print("Go:", app.send_task("resize", (b"GIF89a" * 10, 6)).get(timeout=10))

# A Go task gets results after its own arguments, and a Celery task before its own, as usual for each of them.
pictures = [chain(app.signature("resize", (b"x" * 50, n)), describe.s(f"picture {n}")) for n in (5, 10)]
print("chord:", chord(pictures, album.s()).apply_async().get(timeout=10))
print("retried:", chain(fetch.s("abc"), describe.s("fetched")).apply_async().get(timeout=10))

try:
    app.send_task("resize", (b"x", 70000))
except ValueError as refused:
    print("refused:", refused)
