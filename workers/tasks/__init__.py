"""The background jobs: thin, idempotent, by id. Importing this package registers them all."""

from workers.tasks import housekeeping, judging, training

__all__ = ["housekeeping", "judging", "training"]
