"""Takes the pictures of the public register for its guide: `uv run python -m tools.screenshots`.

It starts the API on a private PostgreSQL, fills the register with the city of the browser tests, and writes
`docs/img/register-*.png` with Chromium.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.conftest import STREET
from tests.integration.notifications.streams import serving
from tests.integration.public_register.browsing import chromium, furnish, looking, undeclared
from tools.private_api import PrivateApi, start_private_api

_PICTURES: Final = Path(__file__).parents[1] / "docs" / "img"
_DESK: Final = {"viewport": {"width": 1180, "height": 980}}
_TALL: Final = {"viewport": {"width": 1180, "height": 1620}}
_NEAR: Final = {"viewport": {"width": 1180, "height": 1340}}
_PHONE: Final = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
_DARK: Final = {**_DESK, "color_scheme": "dark"}
# The map draws its last tiles after it is ready.
_SETTLING_MS: Final = 500


async def create_city(api: PrivateApi) -> tuple[str, str]:
    """Create the sites of the pictures; return the ids of a declared and of an undeclared one."""
    client = api.tenant.client
    street: str = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    owner = await asyncpg.connect(api.database_url)
    try:
        await furnish(client, owner, street)
    finally:
        await owner.close()
    return street, await undeclared(client)


async def take_pictures(api: PrivateApi, target: Path) -> None:
    """Take all pictures into a folder."""
    street, quay = await create_city(api)
    pages: list[tuple[str, str, dict[str, Any]]] = [
        ("en", "/public?lang=en", _DESK),
        ("fr", "/public?lang=fr", _DESK),
        ("site", f"/public/sites/{street}?lang=en", _TALL),
        ("near", "/public?lang=en&q=43.6,+1.44", _NEAR),
        ("undeclared", f"/public/sites/{quay}?lang=en", _DESK),
        ("mobile", "/public?lang=fr", _PHONE),
        ("dark", f"/public/sites/{street}?lang=fr#now", _DARK),
    ]
    async with chromium() as browser, serving(api.application) as base:
        for name, path, options in pages:
            async with looking(browser, base, **options) as watched:
                await watched.go(path)
                await watched.page.wait_for_timeout(_SETTLING_MS)
                await watched.page.screenshot(path=target / f"register-{name}.png", animations="disabled")
                watched.check()


async def write_pictures() -> None:
    """Start the API, and write the pictures where the guide shows them."""
    with tempfile.TemporaryDirectory() as folder:
        async with start_private_api(Path(folder), "Ville démo") as api:
            await take_pictures(api, _PICTURES)


if __name__ == "__main__":
    asyncio.run(write_pictures())
