"""Checks TimescaleDB for `vigie doctor`: its edition, and whether chunks were compressed manually.

Vigie compresses no chunks (docs/decisions/0024-no-compressed-chunks.md). The Apache edition reads a
compressed chunk of another edition as empty, without an error.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from app.standalone.doctor import DoctorFinding
from app.standalone.doctor_database import find_named_database

if TYPE_CHECKING:
    from app.platform.config.settings import DatabaseSettings

_WHAT: Final = "TimescaleDB"
_EDITION: Final = """
SELECT extversion, current_setting('timescaledb.license', true) FROM pg_extension
WHERE extname = 'timescaledb'
"""
_COMPRESSED: Final = """
SELECT count(*) FROM timescaledb_information.chunks
WHERE is_compressed AND hypertable_name IN ('samples', 'hourly', 'daily')
"""


class TimescaleEdition(NamedTuple):
    """The installed TimescaleDB.

    Attributes:
        version: for example 2.19.3.
        license: `apache`, or `timescale`, which can compress.
        compressed: number of compressed chunks of Vigie's tables.
    """

    version: str
    license: str
    compressed: int


def check_chunks() -> Iterator[DoctorFinding]:
    """Yield the edition and compressed chunks; nothing if no database is named."""
    if (settings := find_named_database()) is not None:
        yield from examine_chunks(settings)


def examine_chunks(settings: "DatabaseSettings") -> Iterator[DoctorFinding]:
    """Check the chunks of one database. Blocks for seconds."""
    from app.standalone.login_privileges import CONNECTION_ERRORS  # noqa: PLC0415 (its dependencies may be missing)

    try:
        edition = asyncio.run(_read_edition(settings.url))
    except CONNECTION_ERRORS:
        return  # reported with the database roles
    if edition is None:
        return  # reported by `vigie migrate`
    said = f"{edition.version}, edition {edition.license}: chunks are not compressed"
    if not edition.compressed:
        yield DoctorFinding("ok", _WHAT, said)
        return
    yield DoctorFinding(
        "missing",
        _WHAT,
        f"{edition.compressed} chunks are compressed: the Apache edition reads them as empty, and answers, "
        "roll-ups and erasures are wrong without an error",
        "SELECT decompress_chunk(…) of each, with the edition that compressed them (docs/operations.md, "
        "Limits today)",
    )


async def _read_edition(url: str) -> TimescaleEdition | None:
    from app.standalone.login_privileges import connect_with_timeout  # noqa: PLC0415 (as above)

    async with connect_with_timeout(url) as connection:
        row = await connection.fetchrow(_EDITION)
        if row is None:
            return None
        return TimescaleEdition(row[0], row[1] or "unknown", int(await connection.fetchval(_COMPRESSED)))
