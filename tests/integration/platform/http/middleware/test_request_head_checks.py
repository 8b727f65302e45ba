"""Which methods a path takes, and what is told of them."""

import httpx
import pytest

from tests.conftest import Tenant


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_a_literal_path_is_not_a_thing_of_that_id(tenant: Tenant, method: str) -> None:
    answer = await tenant.client.request(method, "/v1/claims/redeem", json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_what_it_takes_it_takes(tenant: Tenant) -> None:
    answer = await tenant.client.get("/v1/quarantine/counts")
    assert answer.is_success, answer.text
    assert (await tenant.client.head("/v1/quarantine/counts")).status_code == 200


async def test_allow_names_reads_with_and_without_a_body(api: httpx.AsyncClient) -> None:
    answer = await api.delete("/v1/quarantine/counts")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
