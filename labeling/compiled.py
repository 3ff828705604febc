"""Queries that are sent with every label, built once: Django writes the SQL, later only the values change.

Building and compiling a query takes Django longer than the database needs to answer it, and planning takes PostgreSQL
longer than the rest; so there it is a prepared statement too. A `Slot` stands for a value where the query is written;
everything else in it must be the same each time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BigIntegerField, Expression, Field, Model, QuerySet
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

M = TypeVar("M", bound=Model)
LARGEST = BigIntegerField.MAX_BIGINT


class Slot(Expression):
    """A value that is given when the query is sent, by this name. By default a key or another whole number."""

    def __init__(self, name: str, output_field: "Field[Any, Any] | None" = None) -> None:
        super().__init__(output_field=output_field or BigIntegerField())
        self.name = name

    def as_sql(self, *_: Any) -> tuple[str, Any]:
        return "%s", [self]


@dataclass(frozen=True)
class _Built:
    compiler: SQLCompiler
    sql: str
    parameters: Sequence[Any]

    def filled(self, values: Mapping[str, object], connection: Any) -> tuple[Any, ...]:
        """The parameters with these values. Raises KeyError for a slot without one.

        Raises EmptyResultSet where a whole number is larger than any row has.
        """
        if any(isinstance(value, int) and abs(value) > LARGEST for value in values.values()):
            raise EmptyResultSet
        return tuple(
            one.output_field.get_db_prep_value(values[one.name], connection) if isinstance(one, Slot) else one
            for one in self.parameters
        )


@contextmanager
def _cursor(connection: Any) -> Iterator[Any]:
    """A cursor; on PostgreSQL one that sends the values apart, so that a statement is planned once for a connection."""
    if connection.vendor != "postgresql" or connection.queries_logged:  # a logged query names its values
        with connection.cursor() as plain:
            yield plain
        return
    from django.db.backends.postgresql import base

    binding: Any = base.ServerBindingCursor
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.make_cursor(binding(connection.connection)) as cursor:
        yield cursor


class Compiled(Generic[M]):
    """A query with slots. Its SQL is built when it is first sent, and kept as long as the process runs."""

    def __init__(self, build: Callable[[], QuerySet[M]]) -> None:
        self.build = build

    @cached_property
    def _queryset(self) -> QuerySet[M]:
        return self.build()

    @cached_property
    def _built(self) -> _Built:
        compiler = self._queryset.query.get_compiler(using=DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        return _Built(compiler, sql, parameters)

    def fetch(self, **values: object) -> list[M]:
        """The rows for these values of the slots. Raises KeyError for a slot without one."""
        built, connection = self._built, connections[DEFAULT_DB_ALIAS]
        try:
            parameters = built.filled(values, connection)
        except EmptyResultSet:
            return []
        with _cursor(connection) as cursor:
            cursor.execute(built.sql, parameters)
            rows = cursor.fetchall()
        compiler = copy(built.compiler)
        compiler.connection = connection
        compiler.execute_sql = lambda *_args, **_kwargs: [rows]  # type: ignore[assignment, method-assign]
        asked = self._queryset.all()
        asked.query.get_compiler = lambda *_args, **_kwargs: compiler  # type: ignore[method-assign]
        return list(asked)

    def first(self, **values: object) -> M | None:
        """The first of the rows, of which the query itself should ask for no more."""
        return next(iter(self.fetch(**values)), None)


class CompiledUpdate:
    """An update with slots, of these rows to these values."""

    def __init__(self, build: Callable[[], tuple[QuerySet[Any], Mapping[str, object]]]) -> None:
        self.build = build

    @cached_property
    def _built(self) -> _Built:
        rows, values = self.build()
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(dict(values))
        compiler = query.get_compiler(using=DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        return _Built(compiler, sql, parameters)

    def __call__(self, **values: object) -> int:
        """Send it with these values of the slots; how many rows it wrote. Raises KeyError for a slot without one."""
        connection = connections[DEFAULT_DB_ALIAS]
        with _cursor(connection) as cursor:
            cursor.execute(self._built.sql, self._built.filled(values, connection))
            written: int = cursor.rowcount
        return written
