"""Rows of a statement in chunks, with flat memory on either database. Knows not what they hold."""

from collections.abc import Generator
from contextlib import closing, nullcontext
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from psycopg import adapters
from psycopg.pq import Format

from labeling.services.exports.fields import Row

CHUNK = 1_000


def chunks(rows: QuerySet[Any, Any], *, asks_between: bool = False) -> Generator[list[Row], None, None]:
    """The rows in chunks; ``asks_between``: other statements are sent on this connection meanwhile."""
    streams = connection.vendor == "postgresql" and not asks_between
    with closing(_streamed(rows) if streams else _fetched(rows)) as found:
        while chunk := list(islice(found, CHUNK)):
            yield chunk


def _streamed(rows: QuerySet[Any, Any]) -> Generator[Row, None, None]:
    """As PostgreSQL finds them: it goes on while the last ones are written, and no transaction stays open.

    What is read needs none of Django's converters: there are texts, numbers, truths and times alone.
    """
    statement, parameters = rows.query.sql_with_params()
    with connection.wrap_database_errors, connection.cursor() as wrapped:
        cursor = wrapped.cursor
        times = adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)
        assert times is not None, "the driver knows times"
        cursor.adapters.register_loader("timestamptz", times)  # the driver's own: a row's time costs a third as much
        with closing(cursor.stream(statement, parameters, size=CHUNK)) as found:
            yield from found


def _fetched(rows: QuerySet[Any, Any]) -> Generator[Row, None, None]:
    """Row by row: PostgreSQL does so inside a transaction; SQLite anyway, and there one would keep writers out."""
    steady = transaction.atomic() if connection.vendor == "postgresql" else nullcontext()
    with steady, closing(rows.iterator(chunk_size=CHUNK)) as found:  # type: ignore[type-var]
        yield from found
