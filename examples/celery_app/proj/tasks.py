"""Ordinary Celery tasks."""

from celery import shared_task


@shared_task
def describe(image, caption="a picture"):
    return f"{caption}, {len(image)} bytes"


@shared_task
def shout(text, times=1):
    return text.upper() + "!" * times


@shared_task
def album(pictures):
    return " / ".join(pictures)


@shared_task(bind=True, max_retries=3)
def fetch(self, name):
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return name.encode() * 10
