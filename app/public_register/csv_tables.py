"""Writes the register and its figures as CSV (RFC 4180): commas, CRLF, UTF-8, a header. Pure.

Texts of clients are escaped against formula injection: a text that a spreadsheet would evaluate gets an
apostrophe before it.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.kernel.instants import format_us, from_datetime
from app.public_register.register_model import (
    OpenData,
    PublishedPurpose,
    PublishedSite,
    RecentMeasurements,
    RegisterSnapshot,
)
from app.registry.spreadsheet_csv_reader import escape_formula

REGISTER_COLUMNS: Final = (
    *("site_id", "site", "operator", "kind", "longitude", "latitude", "precision_m", "boxes"),
    *("purpose", "purpose_title", "sensitive", "standing", "legal_basis", "legal_reference", "controller"),
    *("contact", "impact_assessment", "notice", "description", "description_fr", "open_data", "starts_at"),
    *("ends_at", "approved_at", "kept_days", "removed", "origin", "licence", "address"),
)
"""The columns of the register: a row for each purpose of each site."""

DATA_COLUMNS: Final = ("time", "span", "metric", "unit", "mean", "values")
"""The columns of figures: a row for each mean."""

type CsvValue = str | float | bool | datetime | None


def _cell(value: CsvValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return format_us(from_datetime(value))
    return escape_formula(value) if isinstance(value, str) else f"{value:.10g}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[CsvValue]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def format_register_csv(register: RegisterSnapshot) -> str:
    """Write all sites and purposes."""
    return _table(
        REGISTER_COLUMNS,
        (_row(site, each, register.at) for site in register.sites.values() for each in site.purposes),
    )


def _row(site: PublishedSite, each: PublishedPurpose, now: datetime) -> list[CsvValue]:
    return [
        str(site.id),
        site.name,
        site.operator,
        site.kind,
        site.longitude,
        site.latitude,
        site.precision_m,
        len(site.boxes),
        each.purpose,
        each.known.title,
        each.sensitive,
        each.standing(now),
        each.legal_basis,
        each.legal_reference,
        each.controller or site.operator,
        each.contact,
        each.impact_assessment,
        each.notice,
        each.description,
        each.description_fr,
        each.open_data,
        each.starts_at,
        each.ends_at,
        each.approved_at,
        site.retention.days(each.purpose),
        site.retention.removes,
        each.origin,
        site.licence,
        site.address,
    ]


def format_recent_csv(recent: RecentMeasurements) -> str:
    """Write the figures of a site's last 24 hours: newest values, then means of 15 minutes."""
    rows: list[list[CsvValue]] = []
    for each in recent.metrics:
        unit = METRICS_BY_NAME[each.metric].unit
        if each.newest is not None:
            rows.append([each.newest.time, "newest", each.metric, unit, each.newest.mean, each.newest.count])
        rows += [[value.time, "quarter", each.metric, unit, value.mean, value.count] for value in each.values]
    return _table(DATA_COLUMNS, rows)


def format_open_data_csv(data: OpenData) -> str:
    """Write the published figures of a site: hourly means, then daily means."""
    rows: list[list[CsvValue]] = [
        [value.time, span, metric, METRICS_BY_NAME[metric].unit, round(value.mean, 3), value.count]
        for span, series in (("hour", data.hours), ("day", data.days))
        for metric, values in series.items()
        for value in values
    ]
    return _table(DATA_COLUMNS, rows)
