"""Who may do everything at the database, and the log as it is there."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.standalone.private_postgres import PrivatePostgres


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The database as its owner's login has it: triggers hold, policies do too."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def root(database_url: str, postgres: PrivatePostgres) -> AsyncIterator[asyncpg.Connection]:
    """The superuser, with triggers off: whom nothing in the database can hold."""
    url = urlsplit(postgres.superuser_url)._replace(path=urlsplit(database_url).path)
    connection = await asyncpg.connect(url.geturl())
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()
