"""Defines column types that work the same on PostgreSQL and on SQLite."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BindParameter, ColumnElement, DateTime, Dialect, String, TypeDecorator, case, func, literal
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NULLTYPE
from sqlmodel import Session

from orchestrator.domain.stored import NotJson

Json = JSON().with_variant(JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """Stores an aware datetime and returns it in UTC, because SQLite does not keep time zones. A naive datetime raises ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_json(text: str | bytes) -> Any:
    """Return what a JSON column of SQLite holds; a `NotJson` where that is no JSON, so that one damaged row does not fail a whole query."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return NotJson(text if isinstance(text, str) else text.decode(errors="backslashreplace"))


def constant(value: str) -> BindParameter[str]:
    """Return a text that is written into the statement, not sent beside it. It must be one of this program's own words.

    An index on some of the rows (`WHERE status = 'pending'`) serves a statement only if the database sees the same word when it plans. It
    plans a statement that is often repeated without looking at the values that are sent beside it.
    """
    return literal(str(value), String(), literal_execute=True)


class likely(FunctionElement[bool]):  # noqa: N801 - named as SQLite's own function
    """A condition that most rows fulfil. SQLite, which has no statistics, then prefers an index for the other conditions."""

    inherit_cache = True
    type = NULLTYPE  # type: ignore[assignment]  # SQLite would compare a Boolean, which it does not have, with 1


@compiles(likely)
def _as_it_is(element: likely, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(likely, "sqlite")
def _likely_for_sqlite(element: likely, compiler: SQLCompiler, **options: Any) -> str:
    return f"likely({compiler.process(element.clauses, **options)})"


def where_json(session: Session, column: Any, part: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return `part`, an expression that looks into a JSON column; it is NULL in rows whose text is no JSON.

    Without this, SQLite fails the whole query on such a row. PostgreSQL stores no such text.
    """
    if session.connection().dialect.name == "postgresql":
        return part
    return case((func.json_valid(column) == 1, part))


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
