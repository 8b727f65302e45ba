"""Pictures of the register for the documentation: `make register-pictures`. Not collected by itself."""

from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from fastapi import FastAPI

from tests.conftest import Tenant
from tests.integration.notifications.streams import serving
from tests.integration.public_register.browsing import chromium, furnish, looking, undeclared

_FOLDER: Final = Path(__file__).parents[3] / "docs" / "img"
_DESK: Final = {"viewport": {"width": 1180, "height": 980}}
_TALL: Final = {"viewport": {"width": 1180, "height": 1620}}
_NEAR: Final = {"viewport": {"width": 1180, "height": 1340}}
_PHONE: Final = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
_DARK: Final = {**_DESK, "color_scheme": "dark"}


@pytest.mark.timeout(120)
async def test_pictures(
    application: FastAPI, tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    await furnish(tenant.client, owner, site_id)
    quay = await undeclared(tenant.client)
    site = f"/public/sites/{site_id}"
    wanted: list[tuple[str, str, dict[str, Any], bool]] = [
        ("en", "/public?lang=en", _DESK, False),
        ("fr", "/public?lang=fr", _DESK, False),
        ("site", f"{site}?lang=en", _TALL, False),
        ("near", "/public?lang=en&q=43.6,+1.44", _NEAR, False),
        ("undeclared", f"/public/sites/{quay}?lang=en", _DESK, False),
        ("mobile", "/public?lang=fr", _PHONE, False),
        ("dark", f"{site}?lang=fr#now", _DARK, False),
    ]
    async with chromium() as browser, serving(application) as base:
        for name, path, options, whole in wanted:
            async with looking(browser, base, **options) as watched:
                await watched.go(path)
                await watched.page.wait_for_timeout(500)
                target = _FOLDER / f"register-{name}.png"
                await watched.page.screenshot(path=target, full_page=whole, animations="disabled")
                watched.check()
