"""Django's name for the background workers."""

from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "workers"
