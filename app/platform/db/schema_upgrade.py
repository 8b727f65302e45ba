"""Upgrades or downgrades the database schema, and reads its revision."""

from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import ReadSession


def _config(settings: DatabaseSettings | None = None) -> Config:
    spec = find_spec("migrations")
    if spec is None or spec.origin is None:
        raise RuntimeError("the `migrations` package is not installed beside `app`")
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["settings"] = settings
    return config


def upgrade(settings: DatabaseSettings, revision: str = "head") -> None:
    """Run pending migrations. Blocks; an advisory lock serialises concurrent calls."""
    command.upgrade(_config(settings), revision)


def downgrade(settings: DatabaseSettings, revision: str) -> None:
    """Revert migrations, down to a revision."""
    command.downgrade(_config(settings), revision)


def find_head_revision() -> str:
    """Return the newest revision that this program knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("there are no migrations")
    return revision


async def read_current_revision(session: ReadSession) -> str | None:
    """Return the database's revision; None before the first migration."""
    present = await session.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not present:
        return None
    revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
