"""Indices of many boxes: the same however many of them are read at once."""

from typing import Any

import pytest

from app.environmental_indices import input_queries as materials_module
from tests.conftest import Tenant
from tests.integration.environmental_indices.town import Record, ask, measure

AT = "2026-03-30T05:10:00Z"
BOXES = 5


async def test_an_answer_is_the_same_however_many_boxes_are_read_at_once(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(BOXES):
        record = Record.of(
            f"2026-03-2{number + 4}T15:00",
            "2026-03-30T06:00",
            900,
            number,
            pm2_5=(4, 30),
            o3=(30, 130),
            laeq=(45, 75),
            odour=(0, 3),
        )
        await measure(tenant, site_id, f"box-{number}", record)
    # None of a metric that is asked for by name, and none at all.
    await measure(
        tenant, site_id, "dust", Record.of("2026-03-29T00:00", "2026-03-29T01:00", 900, 9, pm10=(1, 2))
    )
    asked: dict[str, Any] = {
        "at": AT,
        "method": ["eaqi", "who-24h", "lden-day", "odour-hours", "odour-episodes"],
    }
    whole = await ask(tenant.client, site_id, **asked)
    assert len(whole["data"]) > 5 * BOXES
    assert sum(each["value"] is not None for each in whole["data"]) > 4 * BOXES
    # Before anything can have been measured there is nothing, of what a box measures too.
    early = await ask(tenant.client, site_id, at="2000-01-01T00:10:00Z", box="box-0", method="leq")
    assert [each["reason"] for each in early["data"]] == ["no_data"]
    history: dict[str, Any] = {"method": "odour-hours", "from": "2026-03-25T00:00:00Z", "to": AT}
    past = await ask(tenant.client, site_id, "/history", **history)

    async def same() -> None:
        assert await ask(tenant.client, site_id, **asked) == whole
        assert await ask(tenant.client, site_id, "/history", **history) == past

    for hours, samples in ((1, 200_000), (60_000, 1), (400, 300)):
        monkeypatch.setattr(materials_module, "_BATCH_HOURS", hours)
        monkeypatch.setattr(materials_module, "_BATCH_SAMPLES", samples)
        await same()
    monkeypatch.undo()
    # Together they have more than is looked at, each alone has not: fewer are read at a time.
    monkeypatch.setattr(materials_module, "MAX_SAMPLES", 600)
    await same()
    monkeypatch.setattr(materials_module, "MAX_SAMPLES", 50)
    answer = await tenant.client.get(f"/v1/sites/{site_id}/indices", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "range_too_large")
