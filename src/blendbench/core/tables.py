"""Read tables that people made: .csv files, as spreadsheets write them."""

import csv
import io
from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.core.files import read_file

_LIMIT = 8 * 1024 * 1024
Row = tuple[int, dict[str, str]]  # its line, and the cells by column


def read_text(path: Path, said: str) -> str:
    """Read text, with or without a byte-order mark; `said` names it in errors. Errors: UsageError."""
    try:
        return read_file(path, _LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{said}: not UTF-8; save it as UTF-8 text") from None


def csv_rows(path: Path, said: str) -> tuple[set[str], list[Row]]:
    """Return the columns of a .csv, and its rows that are not empty, without spaces around. Errors: UsageError."""
    reader = csv.DictReader(io.StringIO(read_text(path, said), newline=""))
    columns = {name.strip() for name in reader.fieldnames or ()}
    rows = []
    for read in reader:
        cells = {key.strip(): value.strip() for key, value in read.items() if key and isinstance(value, str)}
        if any(cells.values()):
            rows.append((reader.line_num, cells))
    return columns, rows
