"""What `vigie doctor` says of TimescaleDB: its edition, and whether chunks were compressed by hand.

Vigie compresses none (docs/decisions/0024-no-compressed-chunks.md). The Apache edition reads a chunk that
another edition has compressed as one without rows, and says nothing of it: so it is said here.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

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
    """What TimescaleDB there is.

    Attributes:
        version: such as 2.19.3.
        license: `apache`, or `timescale`, which could compress.
        compressed: so many chunks of Vigie's are.
    """

    version: str
    license: str
    compressed: int


def check_chunks() -> Iterator[DoctorFinding]:
    """The edition, and chunks that are compressed; nothing where no database is named."""
    if (settings := find_named_database()) is not None:
        yield from examine_chunks(settings)


def examine_chunks(settings: "DatabaseSettings") -> Iterator[DoctorFinding]:
    """The same of a database. Blocks, for seconds."""
    from app.standalone.database_logins import CONNECTION_ERRORS  # noqa: PLC0415 (what it is made with may be missing)

    try:
        edition = asyncio.run(_look(settings.url))
    except CONNECTION_ERRORS:
        return  # told with the roles
    if edition is None:
        return  # told by `vigie migrate`
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


async def _look(url: str) -> TimescaleEdition | None:
    from app.standalone.database_logins import PATIENCE_S  # noqa: PLC0415 (as above)

    connection = await asyncpg.connect(url, timeout=PATIENCE_S, command_timeout=PATIENCE_S)
    try:
        row = await connection.fetchrow(_EDITION)
        if row is None:
            return None
        return TimescaleEdition(row[0], row[1] or "unknown", int(await connection.fetchval(_COMPRESSED)))
    finally:
        await connection.close()
