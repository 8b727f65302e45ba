"""Which boxes run which firmware: versions compared, boxes counted, on a real database."""

from typing import Any, Final

import pytest
from sqlalchemy import text

from app.platform.db.database import Database
from tests.conftest import Tenant

FIRMWARES: Final = {
    "box-01": "2.3.1",
    "box-02": "v2.3.10",
    "box-03": "2.4.0-rc1",
    "box-04": "2.4",
    "box-05": "2.4.0+build.7",
    "box-06": "2.4.0.0 (factory)",
    "box-07": "2.10.0",
    "box-08": "10.0",
    "box-09": "2.4.0rc1",
    "box-10": "NRZ-2020-129",
    "box-11": None,
    "box-12": "99999999999999999999.1",
}


@pytest.fixture(autouse=True)
async def _boxes(tenant: Tenant, site_id: str, database: Database) -> None:
    boxes = [{"id": box, "site_id": site_id, "kind": "air" if box < "box-07" else None} for box in FIRMWARES]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})
    assert answer.status_code == 201, answer.text
    async with database.write() as session:
        for box, firmware in FIRMWARES.items():
            await session.execute(
                text("UPDATE boxes SET firmware = :firmware, state = :state WHERE id = :box"),
                {
                    "firmware": firmware,
                    "box": box,
                    "state": "online" if box in {"box-01", "box-04"} else None,
                },
            )


async def listed(tenant: Tenant, path: str, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (any)
    answer = await tenant.client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_boxes_below_a_version_are_those_with_smaller_numbers_and_its_pre_releases(
    tenant: Tenant,
) -> None:
    below = [box["id"] for box in await listed(tenant, "/v1/boxes", firmware_below="2.4.0")]
    assert below == ["box-01", "box-02", "box-03", "box-09"]
    assert below == [box["id"] for box in await listed(tenant, "/v1/boxes", firmware_below="2.4")]
    later = [box["id"] for box in await listed(tenant, "/v1/boxes", firmware_from="2.4.0")]
    assert later == ["box-04", "box-05", "box-06", "box-07", "box-08", "box-12"]
    within = await listed(tenant, "/v1/boxes", firmware_from="2.3.2", firmware_below="2.10")
    assert [box["id"] for box in within] == [f"box-{number:02}" for number in (2, 3, 4, 5, 6, 9)]


async def test_boxes_without_a_version_number_have_a_filter_of_their_own(
    tenant: Tenant,
) -> None:
    others = [box["id"] for box in await listed(tenant, "/v1/boxes", firmware_comparable="false")]
    assert others == ["box-10", "box-11"]
    assert len(await listed(tenant, "/v1/boxes", firmware_comparable="true")) == len(FIRMWARES) - 2


async def test_a_bulk_operation_takes_the_same_filter(tenant: Tenant) -> None:
    body: dict[str, Any] = {
        "select": {"firmware_below": "2.4.0", "kind": "air"},
        "operation": {"type": "label", "tags": {"add": ["update"]}},
    }
    preview = await tenant.client.post("/v1/boxes/bulk/operations", json=body | {"dry_run": True})
    body["preview"] = preview.json()["preview"]
    answer = await tenant.client.post("/v1/boxes/bulk/operations", json=body)
    assert answer.status_code == 200, answer.text
    assert [box["id"] for box in await listed(tenant, "/v1/boxes", tag="update")] == [
        *("box-01", "box-02", "box-03")
    ]


async def test_boxes_are_counted_by_firmware_and_kind(tenant: Tenant, database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE boxes SET firmware = '2.3.1' WHERE id IN ('box-02', 'box-07')"))
    counted = await listed(tenant, "/v1/firmwares", firmware_below="2.4.0")
    pre_releases = [
        {"firmware": "2.4.0-rc1", "kind": "air", "comparable": True, "boxes": 1, "online": 0},
        {"firmware": "2.4.0rc1", "kind": None, "comparable": True, "boxes": 1, "online": 0},
    ]
    assert counted == [
        {"firmware": "2.3.1", "kind": None, "comparable": True, "boxes": 1, "online": 0},
        {"firmware": "2.3.1", "kind": "air", "comparable": True, "boxes": 2, "online": 1},
        *pre_releases,
    ]
    unknown = await listed(tenant, "/v1/firmwares", firmware_comparable="false")
    assert unknown == [
        {"firmware": None, "kind": None, "comparable": False, "boxes": 1, "online": 0},
        {"firmware": "NRZ-2020-129", "kind": None, "comparable": False, "boxes": 1, "online": 0},
    ]
    assert sum(row["boxes"] for row in await listed(tenant, "/v1/firmwares")) == len(FIRMWARES)


@pytest.mark.parametrize("sort", ["firmware", "-firmware", "boxes", "-boxes"])
async def test_pages_of_counts_show_each_row_once(tenant: Tenant, sort: str) -> None:
    whole = await listed(tenant, "/v1/firmwares", sort=sort)
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        parameters: dict[str, str | int] = {"sort": sort, "limit": 5}
        if cursor:
            parameters["cursor"] = cursor
        page = (await tenant.client.get("/v1/firmwares", params=parameters)).json()
        rows += page["data"]
        cursor = page["next"]
    assert rows == whole
    assert len(rows) == len(FIRMWARES)


@pytest.mark.parametrize("version", ["v2.4", "2.4-rc1", "2..4", "", "1.2.3.4.5.6.7.8.9", "1234567890"])
async def test_a_version_that_is_none_is_refused_with_a_reason(tenant: Tenant, version: str) -> None:
    for path in ("/v1/boxes", "/v1/firmwares"):
        answer = await tenant.client.get(path, params={"firmware_below": version})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["code"] == "invalid_version"
