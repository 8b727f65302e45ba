"""What REST refuses for its content, and the counts of refusals as they are shown."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from app.platform.db.database import Database
from app.registry.privacy_refusal_counts import RefusalCountKey, add_refusal_counts
from tests.conftest import Tenant

NOW = datetime.now(UTC)
RUN = "QmVnaW4gb2YgYSBwaWN0dXJlOiAvOWovNEFBUVNrWkpSZ0FCQVFBQUFRQUJBQUQ5" * 3


async def refused(client: httpx.AsyncClient, method: str, path: str, body: object) -> tuple[str, str]:
    """The code, and the field that is named."""
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert "picture" not in answer.text
    return problem["code"], problem["errors"][0]["field"]


async def test_what_clients_write_is_refused_by_its_path_alone(tenant: Tenant, site_id: str) -> None:
    client = tenant.client
    (await client.post("/v1/boxes", json={"id": "guarded", "site_id": site_id})).raise_for_status()
    for method, path, body, found in (
        ("PATCH", f"/v1/sites/{site_id}", {"name": f"a picture {RUN}"}, ("forbidden_content", "body.name")),
        (
            "PATCH",
            "/v1/boxes/guarded",
            {"attributes": {"camera_picture": 1}},
            ("camera_coupling", "body.attributes"),
        ),
        (
            "PUT",
            "/v1/boxes/guarded/config",
            {"a": {"b": [1, {"c": RUN}]}},
            ("forbidden_content", "body.a.b.1.c"),
        ),
        ("PUT", "/v1/boxes/guarded/config", {"a": [0.5] * 65}, ("forbidden_content", "body.a")),
        (
            "POST",
            "/v1/sites",
            {"name": "x", "face_picture": 1},
            ("forbidden_content", "body"),
        ),
    ):
        assert await refused(client, method, path, body) == found
    rows = (await client.get("/v1/refusals", params={"door": "rest"})).raise_for_status().json()
    assert rows["total"] == 5
    assert rows["totals"] == {"camera_coupling": 1, "forbidden_content": 4}
    assert {(row["site_id"], row["code"], row["refused"]) for row in rows["data"]} == {
        (site_id, "camera_coupling", 1),
        (site_id, "forbidden_content", 3),
        (None, "forbidden_content", 1),
    }


async def test_secrets_and_what_people_are_reached_by_pass(tenant: Tenant) -> None:
    webhook = {
        "url": "https://hooks.example.org/services/T00000000/B00000000/xoxbAAAAAAAAAAAAAAAAAAAA",
        "events": ["alert.firing"],
        "headers": {"authorization": f"Bearer {RUN}"},
        "description": "Ask for jeanne@example.org, +33 6 12 34 56 78.",
    }
    made = await tenant.client.post("/v1/webhooks", json=webhook)
    assert made.status_code == 201, made.text


async def test_a_table_of_boxes_is_looked_at_too(tenant: Tenant, site_id: str) -> None:
    table = f"id,site_id,attribute:camera_id\nguarded-1,{site_id},7\n"
    answer = await tenant.client.post("/v1/boxes/bulk", content=table, headers={"content-type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (422, "camera_coupling"), answer.text


@pytest.fixture
async def counted(database: Database, tenant: Tenant, site_id: str) -> None:
    owner, site = UUID(tenant.id), UUID(site_id)
    connection = await database.connect()
    # From tomorrow on: the tests see the same counts when midnight passes between here and their calls.
    for days in range(-1, 40):
        counts = {
            RefusalCountKey(owner, site, "purpose_ended", "noise"): 2,
            RefusalCountKey(owner, site, "forbidden_content", None): 1,
            RefusalCountKey(owner, None, "forbidden_content", None): 1,
            RefusalCountKey(None, None, "camera_coupling", None): 5,
        }
        await add_refusal_counts(connection, counts, door="mqtt", now=NOW - timedelta(days=days))
    await connection.close()


@pytest.mark.usefixtures("counted")
async def test_counts_by_day_and_their_totals(tenant: Tenant, site_id: str, api: httpx.AsyncClient) -> None:
    client = tenant.client
    month = (await client.get("/v1/refusals?limit=1000")).raise_for_status().json()
    assert month["totals"] == {"forbidden_content": 62, "purpose_ended": 62}, (
        "31 days, without others' counts"
    )
    assert month["total"] == 124
    days = [row["day"] for row in month["data"]]
    assert days == sorted(days)
    everything = (await api.get("/v1/refusals", params={"code": "camera_coupling"})).json()
    assert everything["total"] == 155
    a_day = {"from": (NOW - timedelta(days=39)).isoformat(), "to": (NOW - timedelta(days=39)).isoformat()}
    oldest = (await client.get("/v1/refusals", params=a_day)).raise_for_status().json()
    assert (oldest["total"], len(oldest["data"])) == (4, 3)
    for filters, total in (
        ({"site": site_id}, 93),
        ({"purpose": "noise"}, 62),
        ({"door": "http"}, 0),
        ({"code": "purpose_ended", "site": site_id}, 62),
    ):
        assert (await client.get("/v1/refusals", params=filters)).json()["total"] == total


@pytest.mark.usefixtures("counted")
async def test_pages_go_on_where_the_one_before_has_ended(tenant: Tenant) -> None:
    whole = (await tenant.client.get("/v1/refusals?limit=1000")).json()["data"]
    found, cursor = [], None
    while True:
        page = (
            await tenant.client.get(
                "/v1/refusals", params={"limit": 7} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        found += page["data"]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == whole
    for query in ("cursor=x", "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "purpose=films"):
        assert (await tenant.client.get(f"/v1/refusals?{query}")).status_code == 422
