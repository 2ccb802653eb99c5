"""Celery calls Go, workflows cross, and what Go could not take is refused here."""

from celery import chain, chord
from proj.celery import app
from proj.tasks import album, describe, fetch, shout

print("Celery:", shout.delay("hello", 2).get(timeout=10))
print("Go:", app.send_task("resize", (b"GIF89a" * 10, 6)).get(timeout=10))

# Go gets results behind its own arguments, Celery in front of its own, each as it is used to.
pictures = [chain(app.signature("resize", (b"x" * 50, n)), describe.s(f"picture {n}")) for n in (5, 10)]
print("chord:", chord(pictures, album.s()).apply_async().get(timeout=10))
print("retried:", chain(fetch.s("abc"), describe.s("fetched")).apply_async().get(timeout=10))

try:
    app.send_task("resize", (b"x", 70000))
except ValueError as refused:
    print("refused:", refused)
