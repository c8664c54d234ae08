"""Inserts many rows at once without SQLAlchemy's unit of work, where 10 000 objects would take seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Table, insert, text
from sqlmodel import Session, SQLModel

BATCH = 5_000


def insert_many(session: Session, table: type[SQLModel], rows: Sequence[dict[str, Any]], *, skip_known: bool = False) -> None:
    """Insert rows that all have the same keys. Columns that are not named are empty or have the database's default.

    PostgreSQL gets each batch as one JSON document, because one statement per row takes five times as long. pydantic writes the document,
    three times as fast as the module `json` does.

    Args:
        skip_known: True to leave out rows whose key is in the table already.
    """
    target: Table = table.__table__  # type: ignore[attr-defined]  # untyped in SQLModel
    connection = session.connection()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        if connection.dialect.name != "postgresql":
            connection.execute(insert(target).prefix_with("OR IGNORE") if skip_known else insert(target), batch)
            continue
        columns = ", ".join(batch[0])
        source = f"json_populate_recordset(NULL::{target.name}, CAST(:rows AS json))"
        known = " ON CONFLICT DO NOTHING" if skip_known else ""
        statement = f"INSERT INTO {target.name} ({columns}) SELECT {columns} FROM {source}{known}"  # noqa: S608 (names of our own)
        connection.execute(text(statement), {"rows": to_json(batch).decode()})


def insert_copies(
    session: Session,
    table: type[SQLModel],
    templates: Sequence[dict[str, Any]],
    template_of: Sequence[int],
    own: Mapping[str, Sequence[Any]],
) -> None:
    """Insert one row for each entry of `template_of`: the columns of that template, and the row's own values.

    PostgreSQL gets each template once a batch, as JSON, and the own values as arrays. To read the same JSON again for each row would take
    most of the time of the statement.

    Args:
        templates: the columns that several rows share. All have the same keys.
        template_of: for each row, the index of its template.
        own: for each further column, one value a row. The columns are texts or integers.
    """
    target: Table = table.__table__  # type: ignore[attr-defined]  # untyped in SQLModel
    connection = session.connection()
    for start in range(0, len(template_of), BATCH):
        batch = slice(start, start + BATCH)
        values = {column: entries[batch] for column, entries in own.items()}
        if connection.dialect.name == "postgresql":
            _copy_in_postgres(connection, target, templates, template_of[batch], values)
            continue
        rows = zip(*values.values(), strict=True)
        copies = [{**templates[index], **dict(zip(values, row, strict=True))} for index, row in zip(template_of[batch], rows, strict=True)]
        connection.execute(insert(target), copies)


def _copy_in_postgres(
    connection: Connection, target: Table, templates: Sequence[dict[str, Any]], template_of: Sequence[int], own: Mapping[str, Sequence[Any]]
) -> None:
    place = {index: place for place, index in enumerate(dict.fromkeys(template_of), start=1)}  # only those of this batch, counted from 1
    shared = list(templates[0])
    arrays = [f"CAST(:{column} AS {target.c[column].type.compile(connection.dialect)}[])" for column in own]
    statement = f"""
        INSERT INTO {target.name} ({", ".join([*own, *shared])})
        SELECT {", ".join([*(f"own.{column}" for column in own), *(f"template.{column}" for column in shared)])}
        FROM unnest({", ".join(arrays)}, CAST(:place AS integer[])) AS own ({", ".join(own)}, place)
        JOIN json_populate_recordset(NULL::{target.name}, CAST(:templates AS json)) WITH ORDINALITY AS template
        ON template.ordinality = own.place"""  # noqa: S608 (names of our own)
    document = to_json([templates[index] for index in place]).decode()
    connection.execute(text(statement), {**own, "place": [place[index] for index in template_of], "templates": document})
