"""Queries that are sent with every label, built once: Django writes the SQL, later only the values change.

Building and compiling a query takes Django longer than the database needs to answer it, and planning takes PostgreSQL
longer than the rest; so there it is a prepared statement too. A `Slot` stands for a value where the query is written;
everything else in it must be the same each time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BigIntegerField, Expression, Field, Model, QuerySet
from django.db.models.query import ModelIterable
from django.db.models.sql import InsertQuery, UpdateQuery
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


@dataclass(frozen=True)
class _Columns:
    """What the columns of a query's rows are; how each is turned into the field's value is looked up once."""

    compiler: SQLCompiler
    converters: Mapping[int, Any]

    @classmethod
    def of(cls, compiler: SQLCompiler) -> Self:
        """Those of a compiler that has written its SQL."""
        return cls(compiler, compiler.get_converters([column[0] for column in compiler.select]))


class _Answered:
    """A query whose rows are there: what Django's `ModelIterable` asks of a queryset, its query and its compiler."""

    db = DEFAULT_DB_ALIAS
    _known_related_objects: Mapping[Any, Any] = {}

    def __init__(self, columns: _Columns, rows: Sequence[Sequence[Any]], connection: Any) -> None:
        self.rows, self.connection, self.converters = rows, connection, columns.converters
        self.select = columns.compiler.select
        self.klass_info = columns.compiler.klass_info
        self.annotation_col_map = columns.compiler.annotation_col_map

    @property
    def query(self) -> Self:
        return self

    def get_compiler(self, **_: Any) -> Self:
        return self

    def execute_sql(self, **_: Any) -> Sequence[Sequence[Any]]:
        return self.rows

    def results_iter(self, rows: Sequence[Sequence[Any]]) -> Iterable[Sequence[Any]]:
        convert: Any = SQLCompiler.apply_converters  # of the compiler it asks for the connection alone
        converted: Iterable[Sequence[Any]] = convert(self, rows, self.converters)
        return converted


def _cursor(connection: Any) -> Any:
    """A cursor; on PostgreSQL one that sends the values apart, so that a statement is planned once for a connection."""
    if connection.vendor != "postgresql" or connection.queries_logged:  # a logged query names its values
        return connection.cursor()
    from django.db.backends.postgresql import base

    binding: Any = base.ServerBindingCursor
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    return connection.make_cursor(binding(connection.connection))


class Compiled(Generic[M]):
    """A query with slots. Its SQL is built when it is first sent, and kept as long as the process runs.

    The query may join (`select_related`) and annotate; what it prefetches is not fetched.
    """

    def __init__(self, build: Callable[[], QuerySet[M]]) -> None:
        self.build = build

    @cached_property
    def _built(self) -> tuple[_Built, _Columns]:
        compiler = self.build().query.get_compiler(using=DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        return _Built(sql, parameters), _Columns.of(compiler)

    def fetch(self, **values: object) -> list[M]:
        """The rows for these values of the slots. Raises KeyError for a slot without one."""
        (built, columns), connection = self._built, connections[DEFAULT_DB_ALIAS]
        try:
            parameters = built.filled(values, connection)
        except EmptyResultSet:
            return []
        with _cursor(connection) as cursor:
            cursor.execute(built.sql, parameters)
            rows = cursor.fetchall()
        answered: Any = _Answered(columns, rows, connection)
        return list(ModelIterable(answered))

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
        return _Built(sql, parameters)

    def __call__(self, **values: object) -> int:
        """Send it with these values of the slots; how many rows it wrote. Raises KeyError for a slot without one."""
        connection = connections[DEFAULT_DB_ALIAS]
        with _cursor(connection) as cursor:
            cursor.execute(self._built.sql, self._built.filled(values, connection))
            written: int = cursor.rowcount
        return written


class CompiledInsert(Generic[M]):
    """An insert of one row of a model whose key the database makes. Sends no signals."""

    def __init__(self, model: type[M]) -> None:
        self.model = model

    @cached_property
    def _fields(self) -> "list[Field[Any, Any]]":
        meta = self.model._meta
        return [field for field in meta.local_concrete_fields if field is not meta.auto_field]

    def __call__(self, row: M) -> M:
        """Insert the row, which is new, and give it its key; the row itself. Raises IntegrityError as a save does."""
        connection: Any = connections[DEFAULT_DB_ALIAS]
        if not connection.features.can_return_columns_from_insert:
            row.save(force_insert=True)
            return row
        parameters = [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in self._fields]
        with _cursor(connection) as cursor:
            cursor.execute(self._sql, parameters)
            row.pk = cursor.fetchone()[0]
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
        return row

    @cached_property
    def _sql(self) -> str:
        query: Any = InsertQuery(self.model)
        query.insert_values(self._fields, [self.model()])
        compiler = query.get_compiler(using=DEFAULT_DB_ALIAS)
        compiler.returning_fields = [self.model._meta.pk]
        ((sql, _),) = compiler.as_sql()
        return str(sql)
