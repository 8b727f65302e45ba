"""Upgrades or downgrades the database schema, and reads its revision."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import ReadSession

READ_OLDEST_PROGRAM: Final = "SELECT oldest_program FROM alembic_version"


def _config(settings: DatabaseSettings | None = None) -> Config:
    spec = find_spec("migrations")
    if spec is None or spec.origin is None:
        raise RuntimeError("the `migrations` package is not installed beside `app`")
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["settings"] = settings
    return config


class SchemaTooNewError(Exception):
    """The schema no longer serves this program. The text says what to do."""


def upgrade(settings: DatabaseSettings, revision: str = "head") -> str | None:
    """Run pending migrations. Blocks; an advisory lock serialises concurrent calls.

    Returns:
        The database's revision if it is newer than all that this program knows: nothing was changed, and the
        program can run on it. None otherwise.

    Raises:
        SchemaTooNewError: The database is newer, and this program cannot run on it.
    """
    config = _config(settings)
    command.upgrade(config, revision)
    newer: str | None = config.attributes.get("newer_revision")
    return newer


def downgrade(settings: DatabaseSettings, revision: str) -> None:
    """Revert migrations, down to a revision."""
    command.downgrade(_config(settings), revision)


def find_head_revision() -> str:
    """Return the newest revision that this program knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("there are no migrations")
    return revision


@cache
def _known_revisions() -> frozenset[str]:
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return frozenset(script.revision for script in scripts)


def is_known_revision(revision: str) -> bool:
    """Return whether this program knows a revision."""
    return revision in _known_revisions()


def is_newer_revision(revision: str) -> bool:
    """Return whether a revision is newer than all that this program knows."""
    return revision not in _known_revisions() and revision > find_head_revision()


def find_revision_fault(revision: str | None, oldest_program: str | None = None) -> str:
    """Return why this program cannot run on a schema; empty if it can.

    A newer schema serves the programs before it until a migration says otherwise
    (`migrations/compatibility.py`).

    Args:
        revision: the database's; None before the first migration.
        oldest_program: of a newer schema: the newest revision known to the oldest program that it serves.
    """
    if revision is None:
        return "not migrated: run `vigie migrate`"
    known = find_head_revision()
    if revision == known:
        return ""
    if oldest_program is None:
        return f"is at {revision}, should be at {known}: run `vigie migrate`"
    if known >= oldest_program:
        return ""
    return (
        f"is at {revision}, and serves programs from revision {oldest_program} on; this one knows {known}: "
        "run a newer version of Vigie"
    )


async def find_schema_fault(session: ReadSession) -> str:
    """Return why this program cannot run on the database's schema; empty if it can."""
    revision = await read_current_revision(session)
    oldest = None
    if revision is not None and is_newer_revision(revision):
        oldest = str(await session.scalar(text(READ_OLDEST_PROGRAM)))
    return find_revision_fault(revision, oldest)


async def read_current_revision(session: ReadSession) -> str | None:
    """Return the database's revision; None before the first migration."""
    present = await session.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not present:
        return None
    revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
