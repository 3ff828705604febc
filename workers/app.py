"""The Celery application. Light: imports no task, model or ML library until a worker starts."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("tandem", include=["workers.tasks", "workers.heartbeat"])
app.config_from_object("django.conf:settings", namespace="CELERY")
