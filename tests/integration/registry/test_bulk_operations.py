"""Operations on many boxes over REST, on a real database and a real broker."""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.registry import broker_password_file, bulk_box_operation_service, bulk_boxes_router
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant, client_of
from tests.integration.audit.logs import entries
from tests.integration.registry.links import can_connect, link

PATH = "/v1/boxes/bulk/operations"
PLACE = {"type": "Point", "coordinates": [1.4, 43.6]}


async def make(tenant: Tenant, site_id: str, *ids: str, **more: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401 (JSON)
    """Boxes, and their credentials by id."""
    boxes = [{"id": identifier, "site_id": site_id, **more} for identifier in ids]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})
    assert answer.status_code == 201, answer.text
    return {box["id"]: box["credentials"] for box in answer.json()["data"]}


async def new_site(tenant: Tenant, name: str) -> str:
    body = {"name": name, "kind": "street", "timezone": "Europe/Paris", "location": PLACE}
    return str((await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"])


async def operate(client: httpx.AsyncClient, operation: Mapping[str, Any], **which: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    answer = await client.post(PATH, json={"operation": operation, **which})
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    kinds = [result["result"] for result in done["results"]]
    assert (done["selected"], done["changed"], done["unchanged"], done["failed"]) == (
        len(kinds),
        *(kinds.count(kind) for kind in ("changed", "unchanged", "error")),
    )
    return done


async def refused(client: httpx.AsyncClient, body: Mapping[str, Any]) -> tuple[int, str]:
    answer = await client.post(PATH, json=body)
    return answer.status_code, answer.json()["code"]


def results(done: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["code"] or each["result"] for each in done["results"]}


async def box(tenant: Tenant, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = (await tenant.client.get(f"/v1/boxes/{identifier}")).raise_for_status().json()
    return found


async def test_labels_are_added_removed_and_replaced_box_by_box(tenant: Tenant, site_id: str) -> None:
    await make(tenant, site_id, "a", tags=["spare"], attributes={"limit": 50.0, "street": "Metz"})
    await make(tenant, site_id, "b", "c", tags=["lot:1"], kind="facade")
    tags = {"add": ["lot:1"], "remove": ["spare", "never"]}
    done = await operate(tenant.client, {"type": "label", "tags": tags}, ids=["c", "a", "b", "gone", "a"])
    assert results(done) == {"c": "unchanged", "a": "changed", "b": "unchanged", "gone": "not_found"}
    assert [each["id"] for each in done["results"]] == ["c", "a", "b", "gone"]
    assert done["results"][1]["before"] == {"tags": ["spare"]}
    assert done["results"][1]["after"] == {"tags": ["lot:1"]}
    assert (await box(tenant, "a"))["tags"] == ["lot:1"]
    attributes = {"set": {"limit": 55}, "remove": ["street"]}
    label = {"type": "label", "kind": "facade", "attributes": attributes, "tags": {"replace": ["x", "y"]}}
    done = await operate(tenant.client, label, ids=["a", "b"])
    assert results(done) == {"a": "changed", "b": "changed"}
    found = await box(tenant, "a")
    assert (found["kind"], found["tags"], found["attributes"]) == ("facade", ["x", "y"], {"limit": 55.0})
    assert set(done["results"][1]["after"]) == {"tags", "attributes"}


async def test_an_error_of_one_box_changes_nothing_of_the_others(tenant: Tenant, site_id: str) -> None:
    await make(tenant, site_id, "full", tags=[f"t{number}" for number in range(20)])
    await make(tenant, site_id, "free")
    done = await operate(tenant.client, {"type": "label", "tags": {"add": ["new"]}}, ids=["full", "free"])
    assert results(done) == {"full": "too_many_labels", "free": "changed"}
    assert len((await box(tenant, "full"))["tags"]) == 20


async def test_a_preview_changes_nothing_and_its_token_carries_out_exactly_that(
    tenant: Tenant, site_id: str
) -> None:
    await make(tenant, site_id, "lot-1", "lot-2", "other")
    wanted: dict[str, Any] = {
        "select": {"id_prefix": "lot-"},
        "operation": {"type": "label", "tags": {"add": ["x"]}},
    }
    assert await refused(tenant.client, wanted) == (422, "preview_required")
    shown = await operate(tenant.client, **wanted, dry_run=True)
    assert (results(shown), shown["dry_run"]) == ({"lot-1": "changed", "lot-2": "changed"}, True)
    assert (await box(tenant, "lot-1"))["tags"] == []
    assert (await operate(tenant.client, **wanted, dry_run=True))["preview"] == shown["preview"]
    # Another box fits meanwhile; or one is changed; or another operation is sent with the token.
    await make(tenant, site_id, "lot-3")
    assert await refused(tenant.client, {**wanted, "preview": shown["preview"]}) == (409, "selection_changed")
    assert (await box(tenant, "lot-1"))["tags"] == []
    await tenant.client.delete("/v1/boxes/lot-3")
    await tenant.client.patch("/v1/boxes/lot-1", json={"tags": ["y"]})
    assert await refused(tenant.client, {**wanted, "preview": shown["preview"]}) == (409, "selection_changed")
    await tenant.client.patch("/v1/boxes/lot-1", json={"tags": []})
    other = {**wanted, "operation": {"type": "delete"}, "preview": shown["preview"]}
    assert await refused(tenant.client, other) == (409, "selection_changed")
    done = await operate(tenant.client, **wanted, preview=shown["preview"])
    assert results(done) == {"lot-1": "changed", "lot-2": "changed"}
    assert (done["preview"], (await box(tenant, "other"))["tags"]) == (None, [])
    assert (await box(tenant, "lot-2"))["tags"] == ["x"]


async def test_a_box_that_changes_between_plan_and_lock_is_an_error_of_its_own(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tenant, site_id, "a", "b", "c")
    wanted: dict[str, Any] = {"ids": ["a", "b", "c"], "operation": {"type": "label", "tags": {"add": ["x"]}}}
    shown = await operate(tenant.client, **wanted, dry_run=True)
    carry_out = bulk_box_operation_service.execute_plan

    async def after_others(*arguments: Any) -> Any:  # noqa: ANN401 (those of `carry_out`)
        await tenant.client.patch("/v1/boxes/a", json={"tags": ["y"]})
        await tenant.client.delete("/v1/boxes/b")
        await make(tenant, site_id, "b")
        return await carry_out(*arguments)

    monkeypatch.setattr(bulk_box_operation_service, "execute_plan", after_others)
    done = await operate(tenant.client, **wanted, preview=shown["preview"])
    assert results(done) == {"a": "changed_meanwhile", "b": "not_found", "c": "changed"}
    assert [(await box(tenant, each))["tags"] for each in "abc"] == [["y"], [], ["x"]]


async def test_configurations_go_out_to_all(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    words = await make(tenant, site_id, "a", "b", "c")
    await tenant.client.put("/v1/boxes/b/config", json={"config": {"interval_s": 30}})
    configure = {"type": "configure", "config": {"interval_s": 30}}
    done = await operate(tenant.client, configure, ids=["a", "b", "c"])
    assert results(done) == {"a": "changed", "b": "unchanged", "c": "changed"}
    for each in "abc":
        found = (await tenant.client.get(f"/v1/boxes/{each}/config")).json()
        assert (found["desired"], found["published"]) == ({"interval_s": 30}, True)
    async with link(mosquitto, **words["c"]) as client:
        await client.subscribe("vigie/v1/c/config", qos=1)
        message = await anext(client.messages)
        assert (message.payload, message.retain) == (b'{"interval_s": 30}', True)
    done = await operate(tenant.client, {"type": "configure", "config": None}, ids=["a", "b", "c"])
    assert done["changed"] == 3
    assert (await tenant.client.get("/v1/boxes/a/config")).json()["desired"] is None


async def test_credentials_are_rotated_and_revoked_and_the_accounts_written_once(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await make(tenant, site_id, "a", "b")
    writes = []
    sync = broker_password_file.sync_password_file

    async def counted(*arguments: Any, **more: Any) -> None:  # noqa: ANN401 (those of `sync`)
        writes.append(arguments)
        await sync(*arguments, **more)

    monkeypatch.setattr(broker_password_file, "sync_password_file", counted)
    key = {"Idempotency-Key": "rotate-1"}
    body = {"ids": ["a", "b", "gone"], "operation": {"type": "rotate_credentials"}}
    answer = await tenant.client.post(PATH, json=body, headers=key)
    again = await tenant.client.post(PATH, json=body, headers=key)
    assert (again.headers["Idempotency-Replayed"], again.json()) == ("true", answer.json())
    new = {each["id"]: each["credentials"] for each in answer.json()["results"]}
    assert (new["gone"], len(writes)) == (None, 1)
    for each in "ab":
        assert await can_connect(mosquitto, **new[each])
        assert not await can_connect(mosquitto, **old[each])
    shown = await operate(tenant.client, {"type": "rotate_credentials"}, ids=["a"], dry_run=True)
    assert (shown["results"][0]["credentials"], len(writes)) == (None, 1)

    done = await operate(tenant.client, {"type": "revoke_credentials"}, ids=["a"])
    assert results(done) == {"a": "changed"}
    assert not await can_connect(mosquitto, **new["a"])
    assert await can_connect(mosquitto, **new["b"])
    done = await operate(tenant.client, {"type": "revoke_credentials"}, ids=["a", "b"])
    assert results(done) == {"a": "unchanged", "b": "changed"}
    assert ((await box(tenant, "b"))["revoked_at"] is not None, len(writes)) == (True, 3)


async def test_boxes_that_move_or_go_close_their_alerts(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    words = await make(tenant, site_id, "a", "b", "c")
    rule = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    body = {"name": "Dust", "severity": "warning", "site_id": site_id, "condition": rule}
    (await tenant.client.post("/v1/rules", json=body)).raise_for_status()
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 40}}
    for each in "abc":
        sent = await tenant.client.post("/v1/telemetry", json={"box": each, "samples": [sample]})
        sent.raise_for_status()
    there = await new_site(tenant, "Quai")

    async def alerts() -> dict[str, str]:
        found = (await tenant.client.get("/v1/alerts")).json()["data"]
        return {each["box"]: each["resolution"] or each["state"] for each in found}

    assert await alerts() == {"a": "firing", "b": "firing", "c": "firing"}
    done = await operate(tenant.client, {"type": "move", "site_id": there}, ids=["a", "b"])
    assert done["results"][0]["before"] == {"site_id": site_id}
    assert done["results"][0]["after"] == {"site_id": there}
    assert await alerts() == {"a": "box_moved", "b": "box_moved", "c": "firing"}
    done = await operate(tenant.client, {"type": "move", "site_id": there}, ids=["a", "c"])
    assert results(done) == {"a": "unchanged", "c": "changed"}

    select = {"site": there, "id_prefix": "c"}
    shown = await operate(tenant.client, {"type": "delete"}, select=select, dry_run=True)
    done = await operate(tenant.client, {"type": "delete"}, select=select, preview=shown["preview"])
    assert results(done) == {"c": "changed"}
    assert (await tenant.client.get("/v1/boxes/c")).status_code == 404
    assert not await can_connect(mosquitto, **words["c"])
    assert await can_connect(mosquitto, **words["a"])
    await make(tenant, site_id, "c")


async def test_filters_are_those_of_the_list(tenant: Tenant, site_id: str, database: Database) -> None:
    await make(tenant, site_id, "a-1", "a-2", "a_3", kind="facade", tags=["x"])
    await make(tenant, site_id, "b-1", name="Quai a-")
    async with database.write() as session:
        await session.execute(
            text(
                "UPDATE boxes SET firmware = '2.3', state = 'online', battery = 5, rssi = -90 "
                "WHERE id = 'a-2'"
            )
        )
        # Nothing came of it for an hour: more than three of its intervals.
        await session.execute(
            text("UPDATE boxes SET created_at = created_at - interval '1 hour' WHERE id = 'b-1'")
        )
    for select, query in (
        ({}, ""),
        ({"id_prefix": "a-"}, "id_prefix=a-"),
        ({"id_prefix": "a_"}, "id_prefix=a_"),
        ({"q": "A-"}, "q=A-"),
        ({"site": site_id, "kind": "facade", "tag": ["x"]}, f"site={site_id}&kind=facade&tag=x"),
        ({"firmware": "2.3"}, "firmware=2.3"),
        ({"state": "unknown"}, "state=unknown"),
        ({"silent": True}, "silent=true"),
        ({"battery_below": 10, "rssi_below": -80.5}, "battery_below=10&rssi_below=-80.5"),
        ({"late_share_above": 0.5, "clock_skew_above_ms": 1}, "late_share_above=0.5&clock_skew_above_ms=1"),
        ({"organisation": tenant.id}, f"organisation={tenant.id}"),
        ({"site": str(uuid4())}, f"site={uuid4()}"),
    ):
        shown = await operate(tenant.client, {"type": "delete"}, select=select, dry_run=True)
        listed = (await tenant.client.get(f"/v1/boxes?{query}")).raise_for_status().json()["data"]
        assert [each["id"] for each in shown["results"]] == [each["id"] for each in listed], select
        assert shown["selected"] < 4 or select in ({}, {"organisation": tenant.id}, {"q": "A-"})
    assert (await box(tenant, "a-1"))["id"] == "a-1"


async def test_other_tenants_boxes_and_sites_do_not_exist(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    await make(tenant, site_id, "mine")
    for operation in (
        {"type": "delete"},
        {"type": "rotate_credentials"},
        {"type": "revoke_credentials"},
        {"type": "label", "tags": {"add": ["x"]}},
        {"type": "configure", "config": {}},
    ):
        done = await operate(other_tenant.client, operation, ids=["mine"])
        assert results(done) == {"mine": "not_found"}
        shown = await operate(other_tenant.client, operation, select={}, dry_run=True)
        assert shown["results"] == []
    move = {"operation": {"type": "move", "site_id": site_id}, "ids": ["mine"]}
    assert await refused(other_tenant.client, move) == (404, "not_found")
    foreign = await new_site(other_tenant, "Elsewhere")
    move = {"operation": {"type": "move", "site_id": foreign}, "ids": ["mine"]}
    assert await refused(tenant.client, move) == (404, "not_found")
    found = await box(tenant, "mine")
    assert (found["tags"], found["site_id"], found["revoked_at"]) == ([], site_id, None)
    # A key for one site reaches the boxes there alone, and moves none to another one.
    quai = await new_site(tenant, "Quai")
    await make(tenant, quai, "there")
    made = {"name": "quai", "scopes": ["*"], "site_ids": [quai]}
    key = (await tenant.client.post("/v1/api-keys", json=made)).raise_for_status().json()["key"]
    async with client_of(application, key) as narrow:
        done = await operate(narrow, {"type": "delete"}, ids=["mine", "there"], dry_run=True)
        assert results(done) == {"mine": "not_found", "there": "changed"}
        move = {"operation": {"type": "move", "site_id": site_id}, "ids": ["there"]}
        assert await refused(narrow, move) == (404, "not_found")


async def test_an_administrator_moves_no_box_to_another_organisation(
    api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    await make(tenant, site_id, "mine")
    foreign = await new_site(other_tenant, "Elsewhere")
    done = await operate(api, {"type": "move", "site_id": foreign}, ids=["mine"])
    assert results(done) == {"mine": "not_found"}
    assert (await box(tenant, "mine"))["site_id"] == site_id


async def test_who_may_not_read_boxes_lists_ids_and_is_shown_results_alone(
    application: FastAPI, tenant: Tenant, site_id: str
) -> None:
    await make(tenant, site_id, "a", tags=["secret"])
    body = {"name": "writer", "scopes": ["boxes:write"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    label = {"type": "label", "tags": {"replace": ["x"]}}
    async with client_of(application, key) as writer:
        done = await operate(writer, label, ids=["a"])
        assert (results(done), done["results"][0]["before"]) == ({"a": "changed"}, None)
        assert await refused(writer, {"operation": label, "ids": ["a"], "dry_run": True}) == (
            403,
            "forbidden",
        )
        selected = {"operation": label, "select": {}, "preview": "x"}
        assert await refused(writer, selected) == (403, "forbidden")
    body = {"name": "reader", "scopes": ["sites:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, key) as reader:
        assert await refused(reader, {"operation": label, "ids": ["a"], "dry_run": True}) == (
            403,
            "forbidden",
        )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"operation": {"type": "delete"}}, "select_or_ids"),
        ({"operation": {"type": "delete"}, "ids": ["a"], "select": {}}, "select_or_ids"),
        ({"operation": {"type": "delete"}, "ids": []}, "invalid_value"),
        ({"operation": {"type": "delete"}, "ids": ["a b"]}, "invalid_box_id"),
        ({"operation": {"type": "delete"}, "ids": ["a"] * 10_001}, "invalid_value"),
        ({"operation": {"type": "delete"}, "select": {"colour": "red"}, "dry_run": True}, "unknown_field"),
        ({"operation": {"type": "paint"}, "ids": ["a"]}, "invalid_value"),
        ({"operation": {"type": "label"}, "ids": ["a"]}, "missing_field"),
        (
            {"operation": {"type": "label", "tags": {"add": ["x"], "replace": []}}, "ids": ["a"]},
            "replace_or_change",
        ),
        ({"operation": {"type": "label", "tags": {"add": ["a b"]}}, "ids": ["a"]}, "invalid_tag"),
        ({"operation": {"type": "configure", "config": {"a": "x" * 17_000}}, "ids": ["a"]}, "text_too_long"),
        ({"operation": {"type": "configure"}, "ids": ["a"]}, "missing_field"),
    ],
)
async def test_what_is_no_operation_is_refused(tenant: Tenant, body: dict[str, Any], code: str) -> None:
    answer = await tenant.client.post(PATH, json=body)
    assert answer.json()["code"] == code, answer.text
    assert answer.status_code in {413, 422}


async def test_each_box_has_its_entry_in_the_audit_log(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    await make(tenant, site_id, "a", "b", tags=["x"])
    await operate(tenant.client, {"type": "label", "tags": {"add": ["y"]}}, ids=["a", "b"])
    await operate(tenant.client, {"type": "delete"}, ids=["a", "b"], dry_run=True)
    await operate(tenant.client, {"type": "delete"}, ids=["a", "b"])
    connection = await database.connect()
    log = [
        (entry["action"], entry["subject"]["id"])
        for entry in await entries(connection, tenant.id)
        if entry["subject"]["kind"] == "box"
    ]
    await connection.close()
    assert log[2:4] == [("box.updated", "a"), ("box.updated", "b")]
    assert sorted(log[4:]) == [("box.deleted", "a"), ("box.deleted", "b")]


async def test_what_cannot_be_stored_after_the_first_slice_is_an_error_of_its_boxes(
    tenant: Tenant, site_id: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tenant, site_id, "a", "b", "c")
    monkeypatch.setattr(bulk_box_operation_service, "_SLICE_WITH_BARRIER", 1)
    connection = await database.connect()
    async with connection.transaction():
        # Somebody holds the second box for longer than one waits with the gate closed.
        await connection.execute("SELECT FROM boxes WHERE id = 'b' FOR UPDATE")
        done = await operate(tenant.client, {"type": "delete"}, ids=["a", "b", "c"])
    await connection.close()
    assert results(done) == {"a": "changed", "b": "unavailable", "c": "unavailable"}
    done = await operate(tenant.client, {"type": "delete"}, ids=["a", "b", "c"])
    assert results(done) == {"a": "not_found", "b": "changed", "c": "changed"}


async def test_what_is_not_reached_in_time_is_not_begun(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tenant, site_id, "a", "b")
    monkeypatch.setattr(bulk_boxes_router, "_SHARE_OF_SLICES", 0)
    done = await operate(tenant.client, {"type": "delete"}, ids=["a", "b"])
    assert results(done) == {"a": "not_reached", "b": "not_reached"}
    assert (await box(tenant, "a"))["id"] == "a"


async def test_a_filter_that_selects_too_many_is_refused(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tenant, site_id, "a", "b", "c")
    monkeypatch.setattr(bulk_box_operation_service, "OPERATION_MAX", 2)
    body = {"operation": {"type": "delete"}, "select": {}, "dry_run": True}
    assert await refused(tenant.client, body) == (422, "too_many_boxes")


async def test_a_thousand_boxes_in_one_call(tenant: Tenant, site_id: str) -> None:
    ids = [f"many-{number:04}" for number in range(1_000)]
    await make(tenant, site_id, *ids)
    for operation in (
        {"type": "label", "tags": {"add": ["lot:1"]}},
        {"type": "rotate_credentials"},
        {"type": "delete"},
    ):
        begun = time.perf_counter()
        shown = await operate(tenant.client, operation, select={"id_prefix": "many-"}, dry_run=True)
        planned = time.perf_counter()
        body = {"select": {"id_prefix": "many-"}, "preview": shown["preview"]}
        done = await operate(tenant.client, operation, **body)
        assert done["changed"] == 1_000
        sys.stderr.write(
            f"{operation['type']}: preview {planned - begun:.2f} s, "
            f"carried out {time.perf_counter() - planned:.2f} s\n"
        )
    assert (await tenant.client.get("/v1/boxes")).json()["data"] == []
