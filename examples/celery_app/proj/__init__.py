"""An ordinary Celery project."""
