"""Tandem's Django project: the composition root."""

from workers.app import app as celery_app

__all__ = ["celery_app"]
