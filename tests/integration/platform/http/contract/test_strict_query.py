"""A filter that does not exist is refused, on every kind of route."""

import httpx
import pytest

from tests.conftest import Tenant


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/v1/alerts?state=firing&site_id=x", "site"),
        ("/v1/boxes?sites=x", "site"),
        ("/v1/quarantine?boxes=x", "box"),
        ("/v1/rules?stat=x", "site"),
        ("/v1/webhooks?state=x", "limit"),
        ("/v1/sites?offset=10", "cursor"),
        ("/v1/metrics?limit=1", None),
        ("/healthz?x=1", None),
    ],
)
async def test_it_names_what_there_is(tenant: Tenant, path: str, there: str | None) -> None:
    answer = await tenant.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")
    assert (there or "has no query parameters") in answer.json()["detail"]


async def test_what_there_is_still_works(tenant: Tenant, api: httpx.AsyncClient) -> None:
    for path in ("/v1/alerts?state=firing&limit=5", "/v1/quarantine?door=mqtt&from=2026-01-01T00:00:00Z"):
        assert (await tenant.client.get(path)).status_code == 200
    assert (await api.get("/v1/ingest-totals?since=2026-01-01")).status_code == 200
    assert (await tenant.client.get("/docs?x=1")).status_code == 200
