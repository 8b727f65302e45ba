"""Where there is no provider."""

import httpx
import pytest

from tests.integration.people.folk import refusal


@pytest.mark.parametrize("path", ["/v1/oidc", "/v1/oidc/start", "/v1/oidc/callback?state=x&code=y"])
async def test_nobody_signs_in_through_it(anybody: httpx.AsyncClient, path: str) -> None:
    assert refusal(await anybody.get(path)) == (404, "oidc_off")
