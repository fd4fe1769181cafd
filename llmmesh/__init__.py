"""The project: settings, addresses, processes. `shared_task` needs the Celery app loaded with Django."""

from llmmesh.celery import app as celery_app

__all__ = ["celery_app"]
