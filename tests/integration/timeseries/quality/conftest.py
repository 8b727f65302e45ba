"""What tests of quality share: a box that samples once a minute, and what it is asked."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Tenant

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The day before the clocks go forward in Paris."""
MINUTE = timedelta(minutes=1)

type Ask = Callable[..., Awaitable[dict[str, Any]]]


def at(minute: float) -> str:
    """So many minutes after the start."""
    return (START + minute * MINUTE).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    body = {"id": "box-0001", "site_id": site_id, "interval_s": 60}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    return "box-0001"


@pytest.fixture
def send(tenant: Tenant, box: str) -> Callable[[Iterable[tuple[float, dict[str, float]]]], Awaitable[None]]:
    """Have the box send values of minutes, in the order given."""

    async def sent(samples: Iterable[tuple[float, dict[str, float]]]) -> None:
        whole = [{"time": at(minute), "values": values} for minute, values in samples]
        for start in range(0, len(whole), 1000):
            part = whole[start : start + 1000]
            answer = await tenant.client.post("/v1/telemetry", json={"box": box, "samples": part})
            assert answer.json()["stored"] == len(part), answer.text

    return sent


@pytest.fixture
def ask(tenant: Tenant, box: str) -> Ask:
    """Ask for readings, by default of two days."""

    async def asked(metric: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 (a query)
        query = {"metric": metric, "from": at(0), "to": at(2 * 1440), "limit": 10_000, **params}
        query = {name.removesuffix("_"): value for name, value in query.items()}
        answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return asked
