"""Starts the API on a private PostgreSQL in a folder, with one organisation: for pictures and samples."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from app.platform.db.schema_upgrade import upgrade
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Tenant, client_of, new_application, new_tenant, running


@dataclass(frozen=True)
class PrivateApi:
    """A running API, the address of its database, an organisation of it, and the platform's key."""

    application: FastAPI
    database_url: str
    tenant: Tenant
    admin_key: str


@asynccontextmanager
async def start_private_api(
    folder: Path,
    organisation: str,
    **more: Any,  # noqa: ANN401 (settings)
) -> AsyncIterator[PrivateApi]:
    """Start PostgreSQL and the API, without rate limits, and create an organisation."""
    admin = generate_key()
    async with PrivatePostgres(folder / "postgres", durable=False) as server:
        unlimited = {"running_per_key": 0, "key_rate_per_s": 0, "organisation_rate_per_s": 0}
        settings = VigieSettings.model_validate(
            {
                "database": {"url": server.url},
                "bootstrap_admin_key": admin,
                "encryption": {"keys": [generate_encryption_key()]},
                "api": unlimited,
                **more,
            }
        )
        await asyncio.to_thread(upgrade, settings.database)
        async with (
            running(new_application(settings)) as application,
            client_of(application, admin) as api,
            new_tenant(application, api, organisation) as tenant,
        ):
            yield PrivateApi(application, server.url, tenant, admin)
