"""The street of SensorThings' tests, read by OGC API."""

from typing import Any, Final

import httpx

from tests.integration.sensorthings.conftest import settings, street

__all__ = ["settings", "street"]

ROOT: Final = "/ogc"
ITEMS: Final = f"{ROOT}/collections/boxes/items"
MEASUREMENTS: Final = f"{ROOT}/collections/measurements"


async def read(client: httpx.AsyncClient, path: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
    """The JSON of an address."""
    answer = await client.get(path, params=_names(params))
    assert answer.status_code == 200, (answer.status_code, answer.text, str(answer.request.url))
    return answer.json()


async def refused(client: httpx.AsyncClient, path: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
    """The problem of a query that is 400."""
    answer = await client.get(path, params=_names(params))
    assert answer.status_code == 400, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


def _names(params: dict[str, str]) -> dict[str, str] | None:
    return {name.replace("_", "-"): value for name, value in params.items()} or None
