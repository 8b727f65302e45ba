"""A city in the register, and a browser that looks at it."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import client_of


@pytest.fixture
async def public(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Anybody."""
    async with client_of(application, None) as client:
        yield client


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
