"""The background jobs: thin, idempotent, by id. Importing this package registers them all."""

from workers.tasks import calls, datasets, housekeeping, imports, judging, training, trials

__all__ = ["calls", "datasets", "housekeeping", "imports", "judging", "training", "trials"]
