"""The Celery app. Messages only wake; what is to be done stands in the database."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")

app = Celery("llmmesh")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
