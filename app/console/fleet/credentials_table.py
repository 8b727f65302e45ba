"""Writes the credentials of boxes as CSV, for a download. Pure."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from app.registry.spreadsheet_csv_reader import escape_formula


def write_credentials(credentials: Iterable[Mapping[str, str]]) -> str:
    """Write user names and passwords of boxes, a row each, after a header; empty without any."""
    rows = [(escape_formula(each["username"]), each["password"]) for each in credentials]
    return write_table([("username", "password"), *rows]) if rows else ""


def write_table(rows: Iterable[Sequence[str]]) -> str:
    """Write rows as CSV."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()
