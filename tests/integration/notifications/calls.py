"""Calls of the API that tests of webhooks begin with."""

from typing import Any

import httpx

from tests.conftest import Tenant

URL = "https://example.com/hooks/vigie"


async def create(tenant: Tenant, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    """Make a webhook."""
    answer = await tenant.client.post("/v1/webhooks", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def data_of(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    """The first page of a list."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found
