"""The commands of the client against a real API process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.processes.cli import app
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.scenarios.processes import serving

type RunVigie = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def url(settings: VigieSettings, tmp_path: Path) -> AsyncIterator[str]:  # noqa: ARG001 (in the environment)
    async with serving(tmp_path) as address:
        yield address


@pytest.fixture
def vigie(url: str, tenant: Tenant, tmp_path: Path) -> RunVigie:
    """Run a command with the tenant's key; `at` is another address, such as a proxy's."""

    async def run(
        *words: str, code: int = 0, text: str | None = None, at: str = url, key: str | None = tenant.key
    ) -> Result:
        environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "200"}
        environment |= {"VIGIE_URL": at, "VIGIE_API_KEY": key} if key is not None else {}
        found = await asyncio.to_thread(CliRunner().invoke, app, words, input=text, env=environment)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        assert found.exit_code == code, (found.stdout, found.stderr)
        return found

    return run
