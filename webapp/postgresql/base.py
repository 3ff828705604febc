"""The database backend that the settings name for PostgreSQL."""

import select
from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc, unused-ignore]
    """Django's, which asks the server once a request whether a kept connection still lives; here the socket tells.

    A server that has closed a connection has sent its end, which lies in the socket to be read. Where nothing lies
    there, nothing is asked; where something does, or after an error, the server is asked as ever.
    """

    connection: Any

    def is_usable(self) -> bool:
        quiet = self.connection is not None and not self.connection.closed and not self.errors_occurred
        if quiet and not _readable(self.connection.fileno()):
            return True
        return bool(super().is_usable())


def _readable(descriptor: int) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))
