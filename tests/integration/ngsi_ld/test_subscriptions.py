"""Subscriptions of NGSI-LD are subscriptions to measurements: signed notifications, batches, replays."""

import json
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from app.ngsi_ld import router
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import at, boxes, send
from tests.integration.measurement_stream.subscribing import act, list_batches, serving, until_sent
from tests.integration.ngsi_ld.conftest import AIR, DEVICE, NOISE, ROOT
from tests.integration.notifications.receivers import receiving, status

__all__ = ["boxes"]
_SUBSCRIPTIONS = f"{ROOT}/subscriptions"
_CONTEXT = f"{ROOT}/jsonldContexts/vigie"
_MISSING = "https://uri.etsi.org/ngsi-ld/errors/ResourceNotFound"
_BAD = "https://uri.etsi.org/ngsi-ld/errors/BadRequestData"


def _body(uri: str, *selectors: dict[str, str], **more: object) -> dict[str, Any]:
    return {
        "type": "Subscription",
        "subscriptionName": "Broker",
        "entities": list(selectors),
        "notification": {"endpoint": {"uri": uri}, **more},
    }


async def test_notifications_have_each_sample_as_entities(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(204)) as receiver, serving(settings):
        body = _body(receiver.url, {"type": AIR}, {"type": NOISE}, attributes=["pm25", "LAeq"])
        answer = await tenant.client.post(_SUBSCRIPTIONS, json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert answer.headers["location"] == f"{_SUBSCRIPTIONS}/{made['id']}"
        identifier = made["id"].rsplit(":", 1)[-1]
        await send(tenant, boxes[0], (0, {"pm2_5": 12.5, "laeq": 50.5, "no2": 3}))
        await send(tenant, boxes[1], (1, {"humidity": 40}), (2, {"pm2_5": 7}))
        await until_sent(tenant, identifier, 2)
        shown = (await tenant.client.get(answer.headers["location"])).json()
        (batch, *_) = await list_batches(tenant, identifier)
        sent = len(receiver.got)
        await act_replay(tenant, batch["id"])
        await receiver.wait(sent + 1)
    verifier = Webhook(made["secret"])
    for request in receiver.got:
        assert request.headers["content-type"] == "application/ld+json"
        verifier.verify(request.body, request.headers)
    found = [json.loads(request.body) for request in receiver.got]
    assert all(each["subscriptionId"] == made["id"] and each["type"] == "Notification" for each in found)
    entities = [entity for each in found[:sent] for entity in each["data"]]
    time = at(0).replace("+00:00", "Z")
    assert [(each["id"], each.get("pm25", each.get("LAeq"))["value"]) for each in entities] == [
        (f"urn:ngsi-ld:{AIR}:{boxes[0]}", 12.5),
        (f"urn:ngsi-ld:{NOISE}:{boxes[0]}", 50.5),
        (f"urn:ngsi-ld:{AIR}:{boxes[1]}", 7),
    ]
    assert entities[0]["pm25"]["observedAt"] == time
    assert "no2" not in entities[0]
    # The same batch has the same bytes.
    assert receiver.got[-1].body == receiver.got[0].body
    assert shown["notification"]["status"] == "ok"
    assert "lastSuccess" in shown["notification"]
    assert "secret" not in shown


async def act_replay(tenant: Tenant, batch: str) -> None:
    answer = await tenant.client.post(f"/v1/measurement-batches/{batch}/replay")
    assert answer.status_code == 202, answer.text


async def test_a_test_is_a_notification_without_entities(settings: VigieSettings, tenant: Tenant) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        made = (await tenant.client.post(_SUBSCRIPTIONS, json=_body(receiver.url, {"type": AIR}))).json()
        await act(tenant, made["id"].rsplit(":", 1)[-1], "test")
        await receiver.wait(1)
    (request,) = receiver.got
    found = json.loads(request.body)
    assert (found["data"], found["subscriptionId"]) == ([], made["id"])
    assert found["notifiedAt"].startswith("20")


async def test_both_interfaces_show_the_same_subscription(
    tenant: Tenant, other_tenant: Tenant, boxes: list[str]
) -> None:
    client = tenant.client
    selector = {"type": NOISE, "id": f"urn:ngsi-ld:{NOISE}:{boxes[0]}"}
    body = _body("https://example.com/notify", selector)
    body["notification"]["endpoint"]["receiverInfo"] = [{"key": "X-Tenant", "value": "toulouse"}]
    made = (await client.post(_SUBSCRIPTIONS, json=body)).json()
    assert made["entities"] == [selector]
    assert made["notification"]["attributes"] == ["LAeq", "LAmax"]
    identifier = made["id"].rsplit(":", 1)[-1]
    own = (await client.get(f"/v1/measurement-subscriptions/{identifier}")).json()
    assert (own["format"], own["secrets"]) == ("ngsi-ld", ["headers", "secret"])
    assert own["filter"] == {
        "site_ids": None,
        "boxes": [boxes[0]],
        "metrics": ["laeq", "lamax"],
        "kinds": ["sample"],
    }
    plain = {"name": "Other", "sink": {"kind": "webhook", "url": "https://example.com/hook"}}
    other = (await client.post("/v1/measurement-subscriptions", json=plain)).json()
    listed = (await client.get(_SUBSCRIPTIONS)).json()
    assert [each["id"] for each in listed] == [made["id"]]
    assert (await client.get(f"{_SUBSCRIPTIONS}/{other['id']}")).status_code == 404
    foreign = other_tenant.client
    assert (await foreign.get(_SUBSCRIPTIONS)).json() == []
    for method in ("GET", "DELETE"):
        assert (await foreign.request(method, f"{_SUBSCRIPTIONS}/{made['id']}")).status_code == 404
    assert (await client.delete(f"{_SUBSCRIPTIONS}/{made['id']}")).status_code == 204
    assert (await client.get(f"/v1/measurement-subscriptions/{identifier}")).status_code == 404


async def test_what_cannot_be_expressed_is_refused(tenant: Tenant) -> None:
    uri = "https://example.com/notify"
    one, two = f"urn:ngsi-ld:{AIR}:one", f"urn:ngsi-ld:{NOISE}:two"
    refusals: list[tuple[dict[str, Any], int, str, str]] = [
        (_body(uri, {"type": DEVICE}), 422, "not_supported", "entities.type"),
        (_body(uri, {"type": "Cat"}), 400, "invalid_option", "entities.type"),
        (_body(uri, {"type": AIR, "id": two}), 400, "invalid_option", "entities.id"),
        (_body(uri, {"type": AIR, "id": one}, {"type": NOISE, "id": two}), 422, "not_supported", "entities"),
        (_body(uri, {"type": AIR, "id": one}, {"type": NOISE}), 422, "not_supported", "entities"),
        (_body(uri, {"type": AIR}, attributes=["LAeq"]), 400, "invalid_option", "notification.attributes"),
        (
            {**_body(uri, {"type": AIR}, attributes=["no2"]), "watchedAttributes": ["pm25"]},
            422,
            "not_supported",
            "watchedAttributes",
        ),
    ]
    pair = {"type": f"{AIR},{NOISE}"}
    refusals.append((_body(uri, pair), 400, "invalid_option", "entities.type"))
    refusals.append((_body(uri, {"type": AIR, "id": f"{one} é"}), 400, "invalid_option", "entities.id"))
    for key, value in (("Host", "x"), ("X Y", "x"), ("content-type", "x"), ("webhook-id", "x"), ("X", "é")):
        body = _body(uri, {"type": AIR})
        body["notification"]["endpoint"]["receiverInfo"] = [{"key": key, "value": value}]
        refusals.append((body, 400, "invalid_option", "notification.endpoint.receiverInfo"))
    for body, expected, code, option in refusals:
        answer = await tenant.client.post(_SUBSCRIPTIONS, json=body)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["option"]) == (expected, code, option), body
    unknown: list[dict[str, object]] = [{"q": "pm25>25"}, {"geoQ": {}}, {"throttling": 5}, {"id": "urn:x:1"}]
    for more in unknown:
        answer = await tenant.client.post(_SUBSCRIPTIONS, json={**_body(uri, {"type": AIR}), **more})
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["type"]) == (400, "unknown_field", _BAD), more
        assert problem["errors"][0]["field"] == f"body.{next(iter(more))}"
    local = await tenant.client.post(_SUBSCRIPTIONS, json=_body("ftp://example.com", {"type": AIR}))
    assert (local.status_code, local.json()["code"]) == (400, "webhook_url_not_allowed")
    assert local.json()["type"] == _BAD


async def test_lists_have_pages_and_counts(tenant: Tenant) -> None:
    made = []
    for number in range(3):
        body = {**_body("https://example.com/notify", {"type": AIR}), "subscriptionName": f"Broker {number}"}
        made.append((await tenant.client.post(_SUBSCRIPTIONS, json=body)).json()["id"])
    answer = await tenant.client.get(_SUBSCRIPTIONS, params={"limit": "2", "count": "true"})
    assert answer.headers["NGSILD-Results-Count"] == "3"
    assert [each["id"] for each in answer.json()] == made[:2]
    last = await tenant.client.get(answer.links["next"]["url"])
    assert [each["id"] for each in last.json()] == made[2:]
    assert "next" not in last.links
    assert "NGSILD-Results-Count" not in (await tenant.client.get(_SUBSCRIPTIONS)).headers


async def test_an_empty_page_counts_subscriptions(tenant: Tenant) -> None:
    body = _body("https://example.com/notify", {"type": AIR})
    (await tenant.client.post(_SUBSCRIPTIONS, json=body)).raise_for_status()
    answer = await tenant.client.get(_SUBSCRIPTIONS, params={"limit": "0", "count": "true"})
    assert (answer.status_code, answer.json()) == (200, [])
    assert "next" not in answer.links
    assert answer.headers["NGSILD-Results-Count"] == "1"


async def test_a_fault_of_a_parameter_is_bad_request_data(tenant: Tenant) -> None:
    faults = {"limit": ("0", "-1", "1001", "ten"), "offset": ("-1",), "count": ("maybe",)}
    for option, values in faults.items():
        for value in values:
            answer = await tenant.client.get(_SUBSCRIPTIONS, params={option: value})
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (400, "invalid_option"), (option, value)
            assert (problem["type"], problem["option"]) == (_BAD, option), value
            assert f"`{option}`" in problem["detail"]


async def test_bodies_are_json_or_json_ld(tenant: Tenant) -> None:
    context = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.6.jsonld"
    body = json.dumps({**_body("https://example.com/notify", {"type": AIR}), "@context": context})
    for media_type, status_code in (
        ("application/ld+json", 201),
        ("application/json", 201),
        ("text/plain", 415),
    ):
        answer = await tenant.client.post(_SUBSCRIPTIONS, content=body, headers={"Content-Type": media_type})
        assert answer.status_code == status_code, (media_type, answer.text)


async def test_what_does_not_exist_is_resource_not_found(tenant: Tenant) -> None:
    for identifier in (f"urn:ngsi-ld:Subscription:{uuid4()}", "urn:ngsi-ld:Subscription:none", "none"):
        for method in ("GET", "DELETE"):
            answer = await tenant.client.request(method, f"{_SUBSCRIPTIONS}/{identifier}")
            problem = answer.json()
            assert (answer.status_code, problem["type"], problem["code"]) == (404, _MISSING, "not_found")
            assert problem["detail"].startswith("There is no subscription ")


async def test_the_context_is_in_the_body_or_linked(tenant: Tenant) -> None:
    client = tenant.client
    for accept, in_body in ((None, False), ("application/json", False), ("application/ld+json", True)):
        headers = {} if accept is None else {"Accept": accept}
        body = _body("https://example.com/notify", {"type": AIR})
        made = await client.post(_SUBSCRIPTIONS, json=body, headers=headers)
        assert made.status_code == 201, made.text
        one = await client.get(made.headers["location"], headers=headers)
        every = await client.get(_SUBSCRIPTIONS, params={"limit": "1"}, headers=headers)
        for answer, subscription in ((made, made.json()), (one, one.json()), (every, every.json()[0])):
            media_type = "application/ld+json" if in_body else "application/json"
            assert answer.headers["content-type"] == media_type
            assert answer.headers["cache-control"] == "no-store"
            assert subscription.get("@context", "").endswith(_CONTEXT) == in_body
            links = [each["url"] for name, each in answer.links.items() if name != "next"]
            assert [each.endswith(_CONTEXT) for each in links] == ([] if in_body else [True])


async def test_no_link_leads_to_a_page_that_is_refused(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        body = _body("https://example.com/notify", {"type": AIR})
        (await tenant.client.post(_SUBSCRIPTIONS, json=body)).raise_for_status()
    monkeypatch.setattr(router, "MOST_SKIPPED", 1)
    first = await tenant.client.get(_SUBSCRIPTIONS, params={"limit": "1"})
    second = await tenant.client.get(first.links["next"]["url"])
    assert len(second.json()) == 1
    assert "next" not in second.links
