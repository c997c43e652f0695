"""A user's own data as a CSV file: rows by column name, and every mistake with the number of its line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from adaptax.errors import AdaptaxError, short


class Row(NamedTuple):
    line: int
    """Of the file, from 1, on which the row ends."""
    fields: dict[str, str]
    """By column, without the space around them; the optional columns that the file lacks are not there."""


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a UTF-8 file whose first line names its columns, in any order; columns of other names are left unread.

    Blank lines count for nothing. AdaptaxError, with the number of the line, where a column is missing or named twice, a row has
    more or fewer fields than there are columns, a field that is read is empty, a quote is never closed, or bytes are no UTF-8.
    """
    if not path.is_file():
        raise AdaptaxError(f"There is no file {path}; check the name after the colon.")
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            lines.append(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            raise AdaptaxError(
                f"{path}, line {number}: these bytes are no UTF-8; save the file as UTF-8."
            ) from None
    reader = csv.reader(lines, strict=True)
    columns: list[str] | None = None
    rows: list[Row] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            where = f"{path}, line {reader.line_num}"
            if columns is None:
                columns = [cell.lower() for cell in cells]
                _check_columns(columns, required, optional, where)
                continue
            if len(cells) != len(columns):
                raise AdaptaxError(
                    f"{where}: there are {len(cells)} fields, and {len(columns)} columns ({', '.join(columns)}); a field "
                    'that holds a comma stands in "quotes".'
                )
            read = {name: cells[columns.index(name)] for name in (*required, *optional) if name in columns}
            for name, value in read.items():
                if not value:
                    raise AdaptaxError(f"{where}: the {name} is empty; fill it in, or delete the line.")
            rows.append(Row(reader.line_num, read))
    except csv.Error as error:
        raise AdaptaxError(
            f"{path}, line {reader.line_num}: this is no CSV ({error}); check its quotes."
        ) from None
    if not rows:
        raise AdaptaxError(
            f"{path} has no rows; its first line names the columns ({','.join(required)}), and rows follow."
        )
    return rows


def _check_columns(columns: list[str], required: Sequence[str], optional: Sequence[str], where: str) -> None:
    wanted = f"{','.join(required)}" + "".join(f"[,{name}]" for name in optional)
    missing = [name for name in required if name not in columns]
    if missing:
        raise AdaptaxError(
            f"{where}: there is no column '{missing[0]}'; the first line names the columns, {wanted}, and here it is "
            f"{short(','.join(columns))}."
        )
    twice = [name for name in (*required, *optional) if columns.count(name) > 1]
    if twice:
        raise AdaptaxError(f"{where}: two columns are called '{twice[0]}'; rename one.")
