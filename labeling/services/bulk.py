"""Many rows into a table at once: COPY on PostgreSQL, one prepared statement elsewhere. Knows no model's meaning.

The rows are what the database gets: no defaults are filled in and nothing is checked but by the database itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import DatabaseError, connection
from django.db.models import Field, Model, QuerySet

LOCK_SPACE = 7_340_032
"""Keeps Tandem's advisory locks apart from others in the same database."""


def on_postgres() -> bool:
    """Whether the rows live in PostgreSQL."""
    return connection.vendor == "postgresql"


def insert(model: type[Model], fields: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert the rows; JSON is given as text. Inside the caller's transaction."""
    table = connection.ops.quote_name(model._meta.db_table)
    names = [_column(model, name) for name in fields]
    columns = ", ".join(map(connection.ops.quote_name, names))
    with connection.cursor() as cursor:
        if on_postgres():
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        places = ", ".join(["%s"] * len(names))
        adapted = [[_adapted(value) for value in row] for row in rows]
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", adapted)  # noqa: S608


def insert_selected(model: type[Model], source: QuerySet[Any], columns: Mapping[str, Any]) -> int:
    """Insert one row for each of the source's, made by the database itself; those that are there stay. How many came.

    ``columns`` are the fields of the new rows as expressions over the source, which must have a condition.
    """
    names = {f"new_{field}": expression for field, expression in columns.items()}
    try:
        select, values = source.annotate(**names).values_list(*names).query.sql_with_params()
    except EmptyResultSet:
        return 0
    table = connection.ops.quote_name(model._meta.db_table)
    fields = ", ".join(connection.ops.quote_name(_column(model, field)) for field in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({fields}) {select} ON CONFLICT DO NOTHING", values)
        return max(int(cursor.rowcount), 0)


def matching(
    model: type[Model], owner: tuple[str, int], field: str, values: Sequence[str], *more: str
) -> list[tuple[Any, ...]]:
    """Of the owner's rows that have one of the values in the field: that value, then the other columns asked for.

    There is at most one row for each value, and an index on both fields. PostgreSQL plans by the rows that it knew
    before an import, which may be none of this owner, and would then rather read all of them than use that index. So
    the owner comes with each value, as if it were another one every time.
    """
    name, key = owner
    if not on_postgres():
        rows = model._default_manager.filter(**{name: key, f"{field}__in": values})
        return list(rows.values_list(field, *more))
    table = connection.ops.quote_name(model._meta.db_table)
    own, column, *others = (connection.ops.quote_name(_column(model, each)) for each in (name, field, *more))
    columns = ", ".join(f"held.{each}" for each in (column, *others))
    same = f"held.{own} = given.own AND held.{column} = given.value"
    one = f"SELECT {columns} FROM {table} AS held WHERE {same} LIMIT 1"  # noqa: S608
    given = "unnest(%s::bigint[], %s::text[]) AS given(own, value)"
    statement = f"SELECT found.* FROM {given}, LATERAL ({one}) AS found"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, [[key] * len(values), list(values)])
        return list(cursor.fetchall())


def reserve_ids(model: type[Model], count: int) -> list[int]:
    """Primary keys that nobody else gets, so that rows that point to the new ones can be written at once."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if on_postgres():
            sequence = "pg_get_serial_sequence(%s, 'id')"
            cursor.execute(f"SELECT nextval({sequence}) FROM generate_series(1, %s)", [table, count])  # noqa: S608
            return [number for (number,) in cursor.fetchall()]
        # The caller's transaction holds the only write lock.
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        found = cursor.fetchone()
        last = found[0] if found else 0
        return list(range(last + 1, last + 1 + count))


def analyze(*models: type[Model]) -> None:
    """Let the database look at tables that have just grown: it plans by what it last saw, which were fewer rows."""
    if on_postgres():
        tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in models)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {tables}")


def try_lock(number: int) -> bool:
    """Take the lock of that number until the transaction ends, if nobody holds it; SQLite has one writer anyway."""
    if not on_postgres():
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_SPACE, number % 2**31])
        return bool(cursor.fetchone()[0])


class SideConnection:
    """A connection of its own beside a long transaction, for what others should see before it ends."""

    def __init__(self) -> None:
        self._connection = connection.copy()

    def execute(self, statement: str, values: Sequence[Any]) -> list[tuple[object, ...]]:
        """Run one statement that returns rows, committed at once."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def close(self) -> None:
        with suppress(DatabaseError):
            self._connection.close()


def _column(model: type[Model], field: str) -> str:
    found = model._meta.get_field(field)
    assert isinstance(found, Field)
    return str(found.column)


def _adapted(value: object) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
