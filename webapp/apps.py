"""Django's name for the composition root (it holds the `run_tandem` command)."""

from django.apps import AppConfig


class WebappConfig(AppConfig):
    name = "webapp"
