"""The street of SensorThings' tests, read by NGSI-LD."""

from typing import Any, Final

import httpx

from tests.integration.sensorthings.conftest import settings, street

__all__ = ["settings", "street"]

ROOT: Final = "/ngsi-ld/v1"
ENTITIES: Final = f"{ROOT}/entities"
AIR, NOISE, DEVICE = "AirQualityObserved", "NoiseLevelObserved", "Device"


async def read(client: httpx.AsyncClient, path: str = ENTITIES, **params: str) -> Any:  # noqa: ANN401 (JSON)
    """The JSON of an address."""
    answer = await client.get(path, params=params or None)
    assert answer.status_code == 200, (answer.status_code, answer.text, str(answer.request.url))
    return answer.json()


async def refused(client: httpx.AsyncClient, path: str = ENTITIES, **params: str) -> Any:  # noqa: ANN401 (JSON)
    """The problem of a query that is refused."""
    answer = await client.get(path, params=params)
    assert answer.status_code in {400, 422}, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()
