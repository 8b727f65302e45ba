"""A database with a standby."""

from collections.abc import AsyncIterator

import pytest

from tests.replication import STANDBY, ReplicatedPostgres, run_replicated

__all__ = ["STANDBY", "ReplicatedPostgres"]


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedPostgres]:
    async with run_replicated(tmp_path_factory.mktemp("replicated")) as made:
        yield made
