"""Kinds, tags and attributes over REST, on a real database."""

from typing import Any

from sqlalchemy import text

from app.platform.db.database import Database
from tests.conftest import Tenant

LABELS: dict[str, Any] = {
    "kind": "facade",
    "tags": ["quai", "lot:2026-11"],
    "attributes": {"night_limit": 55, "street": "Metz"},
}
NONE: dict[str, Any] = {"kind": None, "tags": [], "attributes": {}}
CSV = {"Content-Type": "text/csv"}


def labels(box: dict[str, Any]) -> dict[str, Any]:
    return {name: box[name] for name in LABELS}


async def make(tenant: Tenant, site_id: str, identifier: str, **more: object) -> dict[str, Any]:
    answer = await tenant.client.post("/v1/boxes", json={"id": identifier, "site_id": site_id, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_box_has_its_labels_and_they_change(tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id, "box-0001", **LABELS)
    assert labels(made) == LABELS
    url = "/v1/boxes/box-0001"
    assert labels((await tenant.client.get(url)).json()) == LABELS
    assert labels((await tenant.client.patch(url, json={"name": "North"})).json()) == LABELS
    # Attributes are replaced as a whole.
    change = {"kind": "indoor", "tags": ["b", "a", "b"], "attributes": {"day_limit": -1e300}}
    changed = await tenant.client.patch(url, json=change)
    assert labels(changed.json()) == {**change, "tags": ["b", "a"]}
    assert labels((await tenant.client.get(url)).json()) == {**change, "tags": ["b", "a"]}
    emptied = await tenant.client.patch(url, json=dict.fromkeys(LABELS))
    assert labels(emptied.json()) == NONE
    assert labels(await make(tenant, site_id, "box-0002")) == NONE


async def test_what_is_no_label_is_refused(tenant: Tenant, site_id: str) -> None:
    await make(tenant, site_id, "box-0001", **LABELS)
    for change, field, code in (
        ({"kind": "A"}, "body.kind", "invalid_kind"),
        ({"tags": ["ok", "a b"]}, "body.tags.1", "invalid_tag"),
        ({"attributes": {"limit": "\0"}}, "body.attributes.limit", "nul_in_text"),
        ({"attributes": {"Limit": 1}}, "body.attributes.Limit.[key]", "invalid_attribute"),
    ):
        answer = await tenant.client.patch("/v1/boxes/box-0001", json=change)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["errors"][0]["field"] == field
    assert labels((await tenant.client.get("/v1/boxes/box-0001")).json()) == LABELS


async def test_many_are_made_with_labels_as_json_and_as_a_table(tenant: Tenant, site_id: str) -> None:
    boxes = [{"id": "a", "site_id": site_id, **LABELS}, {"id": "b", "site_id": site_id}]
    made = (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).json()["data"]
    assert [labels(box) for box in made] == [LABELS, NONE]
    table = (
        "id,site_id,kind,tags,attribute:night_limit,attribute:street\n"
        f"c,{site_id},facade,quai|lot:2026-11,55,Metz\n"
        f"d,{site_id},,,,\n"
    )
    answer = await tenant.client.post("/v1/boxes/bulk", content=table, headers=CSV)
    assert [labels(box) for box in answer.json()["data"]] == [LABELS, NONE]
    faulty = f"id,site_id,kind,tags,attribute:street\ne,{site_id},A,a||b,{'x' * 201}\n"
    answer = await tenant.client.post("/v1/boxes/bulk", content=faulty, headers=CSV)
    assert [(fault["line"], fault["field"], fault["code"]) for fault in answer.json()["errors"]] == [
        (2, "kind", "invalid_kind"),
        (2, "tags.1", "invalid_tag"),
        (2, "attribute:street", "text_too_long"),
    ]


async def test_boxes_are_listed_by_kind_and_by_all_of_the_tags(tenant: Tenant, site_id: str) -> None:
    await make(tenant, site_id, "a", kind="facade", tags=["quai", "new"])
    await make(tenant, site_id, "b", kind="facade", tags=["quai"])
    await make(tenant, site_id, "c", tags=["new"])

    async def ids(*params: tuple[str, str]) -> list[str]:
        answer = await tenant.client.get("/v1/boxes", params=params)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["data"]]

    assert await ids(("kind", "facade")) == ["a", "b"]
    assert await ids(("kind", "indoor")) == []
    assert await ids(("tag", "quai")) == ["a", "b"]
    assert await ids(("tag", "new"), ("tag", "quai")) == ["a"]
    assert await ids(("tag", "new"), ("kind", "facade"), ("site", site_id)) == ["a"]
    for params in ({"tag": "a b"}, {"tag": ""}, {"kind": "A"}, {"tag": ["t"] * 21}):
        answer = await tenant.client.get("/v1/boxes", params=params)
        assert answer.status_code == 422, params


async def test_a_site_has_attributes(tenant: Tenant) -> None:
    body = {
        "name": "Quai",
        "kind": "street",
        "timezone": "UTC",
        "location": {"type": "Point", "coordinates": [1.4, 43.6]},
    }
    assert (await tenant.client.post("/v1/sites", json=body)).json()["attributes"] == {}
    made = await tenant.client.post("/v1/sites", json={**body, "attributes": {"limit": 55, "zone": "B"}})
    assert made.json()["attributes"] == {"limit": 55, "zone": "B"}
    url = f"/v1/sites/{made.json()['id']}"
    assert (await tenant.client.patch(url, json={"name": "Q"})).json()["attributes"] == {
        "limit": 55,
        "zone": "B",
    }
    changed = await tenant.client.patch(url, json={"attributes": {"limit": 50.5}})
    assert (
        changed.json()["attributes"] == (await tenant.client.get(url)).json()["attributes"] == {"limit": 50.5}
    )
    assert (await tenant.client.patch(url, json={"attributes": None})).json()["attributes"] == {}
    for attributes, code in (({"Limit": 1}, "invalid_attribute"), ({"limit": True}, "wrong_type")):
        answer = await tenant.client.patch(url, json={"attributes": attributes})
        assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_each_change_of_a_label_is_told_to_the_registry(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    async def revisions() -> tuple[int, int, int]:
        query = "SELECT version, b.revision, s.revision FROM registry, boxes b, sites s"
        async with database.read() as session:
            version, box, site = (await session.execute(text(query))).one()
        return version, box, site

    await make(tenant, site_id, "box-0001")
    for change in ({"kind": "facade"}, {"tags": ["a"]}, {"attributes": {"limit": 1}}, {"attributes": None}):
        before = await revisions()
        (await tenant.client.patch("/v1/boxes/box-0001", json=change)).raise_for_status()
        version, box, site = await revisions()
        assert version == box == before[0] + 1
        assert site == before[2]
    before = await revisions()
    (await tenant.client.patch(f"/v1/sites/{site_id}", json={"attributes": {"limit": 1}})).raise_for_status()
    version, box, site = await revisions()
    assert (version, box, site) == (before[0] + 1, before[1], before[0] + 1)
    # A name is nothing to the pipeline.
    (await tenant.client.patch("/v1/boxes/box-0001", json={"name": "North"})).raise_for_status()
    assert await revisions() == (version, box, site)


async def test_a_claimed_box_has_none(tenant: Tenant, site_id: str) -> None:
    code = (await tenant.client.post("/v1/claims", json={"site_id": site_id})).json()["code"]
    answer = await tenant.client.post("/v1/claims/redeem", json={"code": code, "id": "box-0001"})
    assert answer.status_code == 201, answer.text
    assert labels(answer.json()) == NONE
    more = await tenant.client.post("/v1/claims/redeem", json={"code": code, "id": "b", "tags": ["a"]})
    assert (more.status_code, more.json()["code"]) == (422, "unknown_field")
