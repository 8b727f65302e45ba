"""Who is counted how, through the whole edge."""

import asyncio

import httpx
import pytest

from app.platform.http.fairness import rate_limits
from app.platform.kernel.secret_tokens import generate_key
from app.platform.observability.metrics_and_logs import HTTP_REFUSED
from tests.unit.platform.http.middleware.helpers import BOOTSTRAP, behind_the_edge, client_at


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are not held up."""
    monkeypatch.setattr(rate_limits, "_REFUSAL_DELAY_S", 0.0)


async def statuses(client: httpx.AsyncClient, *paths: str) -> list[int]:
    return [(await client.get(path)).status_code for path in paths]


async def test_a_key_has_its_limit_and_is_told_what_is_left() -> None:
    app = behind_the_edge(rate_per_s=0.5, rate_burst=2)
    refused = HTTP_REFUSED.labels("rate_limited", "key")._value.get()
    async with client_at(app, generate_key()) as client, client_at(app, generate_key()) as other:
        answers = [await client.get("/v1/good") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        assert [answer.headers["ratelimit-reset"] for answer in answers] == ["2", "4", "4"]
        last = answers[-1]
        assert last.headers["ratelimit-limit"] == "2"
        assert last.headers["retry-after"] == "2"
        assert last.headers["content-type"] == "application/problem+json"
        assert last.json()["code"] == "rate_limited"
        assert last.json()["request_id"] == last.headers["x-request-id"]
        assert last.headers["x-content-type-options"] == "nosniff"
        assert await statuses(other, "/v1/good", "/healthz") == [200, 200]
        answer = await client.get("/healthz")
        assert answer.status_code == 200
        assert "ratelimit-limit" not in answer.headers
    assert HTTP_REFUSED.labels("rate_limited", "key")._value.get() == refused + 1


@pytest.mark.parametrize("key", [None, "no key at all", f"vg_{'0' * 38}", "clé"])
async def test_without_a_well_formed_key_it_is_the_address_that_counts(key: str | None) -> None:
    app = behind_the_edge(anonymous_rate_per_s=0.001, anonymous_rate_burst=1)
    headers = {} if key is None else {b"Authorization": f"Bearer {key}".encode()}
    async with client_at(app) as client:
        got = [(await client.get("/v1/any", headers=headers)).status_code for _ in range(2)]
    assert got == [200, 429]
    async with client_at(app, address="192.0.2.8") as elsewhere:
        assert await statuses(elsewhere, "/v1/any") == [200]


async def test_an_ipv6_customer_is_one_address() -> None:
    app = behind_the_edge(anonymous_rate_per_s=0.001, anonymous_rate_burst=1)
    for address, status in (("2001:db8::1", 200), ("2001:db8::ffff:2", 429), ("2001:db8:0:1::1", 200)):
        async with client_at(app, address=address) as client:
            assert await statuses(client, "/v1/any") == [status]


async def test_invented_keys_take_from_their_address() -> None:
    app = behind_the_edge(anonymous_rate_per_s=0.001, anonymous_rate_burst=2)
    good = generate_key()
    async with client_at(app, good) as client:
        # What a good key took is given back.
        assert await statuses(client, "/v1/good", "/v1/good", "/v1/good") == [200] * 3
    got = []
    for _ in range(3):
        async with client_at(app, generate_key()) as stranger:
            got += await statuses(stranger, "/v1/any")
    assert got == [200, 200, 429]
    async with client_at(app, good) as client:
        assert await statuses(client, "/v1/good") == [200]


async def test_the_bootstrap_key_is_a_key_whatever_it_looks_like() -> None:
    app = behind_the_edge(anonymous_rate_per_s=0.001, anonymous_rate_burst=1)
    async with client_at(app, BOOTSTRAP) as client:
        assert await statuses(client, "/v1/any", "/v1/any", "/v1/any") == [200] * 3


async def test_samples_have_a_limit_of_their_own() -> None:
    app = behind_the_edge(rate_per_s=0.001, rate_burst=1, telemetry_rate_per_s=0.001, telemetry_rate_burst=2)
    async with client_at(app, generate_key()) as client:
        assert await statuses(client, "/v1/good", "/v1/good") == [200, 429]
        posted = [(await client.post("/v1/telemetry")).status_code for _ in range(3)]
    assert posted == [200, 200, 429]


async def test_a_rate_of_0_is_no_limit() -> None:
    app = behind_the_edge(rate_per_s=0, anonymous_rate_per_s=0, rate_burst=1, anonymous_rate_burst=1)
    async with client_at(app, generate_key()) as client, client_at(app) as stranger:
        assert await statuses(client, "/v1/any", "/v1/any") == [200, 200]
        answer = await stranger.get("/v1/any")
        assert (answer.status_code, "ratelimit-limit" in answer.headers) == (200, False)


async def test_whoever_goes_on_regardless_is_answered_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[float] = []

    async def sleep(seconds: float) -> None:
        held.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(rate_limits, "_QUICK_PER_S", 0.001)
    monkeypatch.setattr(rate_limits, "_QUICK_BURST", 3)
    app = behind_the_edge(rate_per_s=0.001, rate_burst=1)
    async with client_at(app, generate_key()) as client:
        await statuses(client, *["/v1/good"] * (1 + 3))
        assert held == []
        await statuses(client, "/v1/good", "/v1/good")
    assert held == [rate_limits._REFUSAL_DELAY_S] * 2
