"""Lists as a client reads them."""

from typing import Any

import httpx


async def listed(client: httpx.AsyncClient, url: str, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (a query)
    if "from_" in params:
        params["from"] = params.pop("from_")
    answer = await client.get(url, params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows
