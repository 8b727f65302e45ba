"""Each example of a request in the OpenAPI document is sent to the API, and each answer fits the document."""

import copy
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from app.processes.api_application import create_app
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, running
from tests.openapi import openapi_document

# Examples that cannot succeed here, since they show what was told somebody in secret, or are a person's: the
# request is read and understood all the same. By operation, the status that says so.
REFUSED: Final = {
    "sign_in": 401,
    "sign_in_with_second_factor": 401,
    "sign_in_with_passkey": 401,
    "prove_identity": 403,
    "confirm_totp": 403,
    "create_passkey": 403,
    "set_mail_settings": 409,  # what the environment sets goes first
    "reset_password": 401,
    "accept_invitation": 401,
    "accept_grant_offer": 401,
    "confirm_oidc": 404,
    "switch_organisation": 403,
    "update_me": 403,
    "change_password": 403,
    "update_member": 404,
    "get_rights_request_status": 404,
    "withdraw_rights_request": 404,
    "confirm_incident": 404,
    "dismiss_incident": 404,
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ONE_OF: Final = {"boxes": "box", "site_ids": "site_id", "rule_ids": "rule_id"}
type Json = Any


@dataclass(frozen=True)
class Example:
    """A request of the document."""

    method: str
    path: str
    operation: dict[str, Json]
    media_type: str
    body: Json


def examples(document: dict[str, Json]) -> Iterator[Example]:
    """All of them, in the order of the document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = content["schema"]
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                shown = [each["value"] for each in content.get("examples", {}).values()]
                shown += [where["example"] for where in (content, schema) if "example" in where]
                for body in shown + schema.get("examples", []):
                    yield Example(method, path, operation, media_type, body)


@dataclass
class World:
    """Where examples are sent: what there is for the names that they use."""

    clients: dict[str | None, httpx.AsyncClient]
    known: dict[str, str]
    boxes: int = 0

    def filled(self, node: Json, name: str = "") -> Json:
        """An example with this world's ids in place of those that it shows, and new ids for new boxes."""
        if isinstance(node, dict):
            return {key: self.filled(value, key) for key, value in node.items()}
        if isinstance(node, list):
            return [self.filled(each, _ONE_OF.get(name, name)) for each in node]
        if name == "id" and isinstance(node, str):
            self.boxes += 1
            return f"lot26-{self.boxes}"
        return self.known.get(name, node) if isinstance(node, str) else node

    async def path(self, template: str) -> str:
        """A path with ids of what there is: of each collection, the first."""
        path = ""
        for part in template.strip("/").split("/"):
            value = part
            if part.startswith("{"):
                listed = (await self.clients["ApiKey"].get(path)).json()
                found = [each.get("id", each.get("purpose")) for each in listed.get("data", ())]
                # The first of the keys is the one that all this is done with: it keeps what it may.
                value = found[-1 if path.endswith("api-keys") else 0] if found else self.known["site_id"]
            path += f"/{value}"
        return path

    async def send(self, example: Example) -> httpx.Response:
        """Send an example, as whoever it is for."""
        if isinstance(example.body, str):
            text = _UUID.sub(self.known["site_id"], example.body).replace("\nbox-", "\ncsv-")
        else:
            body = self.filled(example.body)
            if example.operation["operationId"] == "redeem_claim":
                body["code"] = self.known["claim"]
            text = json.dumps(body)
        schemes = [scheme for each in example.operation.get("security", [{}]) for scheme in each]
        client = self.clients["ApiKey" if "ApiKey" in schemes else schemes[0] if schemes else None]
        if example.path.startswith(("/v1/organisations", "/v1/roll-ups", "/v1/settings")):
            client = self.clients["Administrator"]
        return await client.request(
            example.method,
            await self.path(example.path),
            content=text,
            headers={"content-type": example.media_type},
        )


@pytest.fixture
async def application(settings: VigieSettings) -> AsyncIterator[FastAPI]:
    """With all that an operator may switch on."""
    able = {
        "enrolment": settings.enrolment.model_copy(update={"enabled": True}),
        "smtp": settings.smtp.model_copy(update={"host": "127.0.0.1"}),
    }
    async with running(create_app(settings.model_copy(update=able))) as app:
        yield app


@pytest.fixture
async def world(
    application: FastAPI, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> AsyncIterator[World]:
    """A tenant's site with boxes, a rule of two versions and an alert, a claim and a provisioning key."""

    async def made(path: str, body: Json, method: str = "POST") -> Json:
        return (await tenant.client.request(method, path, json=body)).raise_for_status().json()

    for box in ("box-0001", "esp8266-12331981"):
        await made("/v1/boxes", {"id": box, "site_id": site_id})
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 1}
    rule = {"name": "Fine dust", "severity": "warning", "condition": condition, "site_id": site_id}
    # The first of them is changed by examples, and disabled: that ends its alerts.
    await made("/v1/rules", {**rule, "name": "Another"})
    rule_id = (await made("/v1/rules", rule))["id"]
    await made(f"/v1/rules/{rule_id}", {"name": "Fine dust, street"}, "PATCH")
    sample = {"time": "2026-11-24T09:00:00Z", "values": {"pm2_5": 31.2}}
    await made("/v1/telemetry", {"box": "box-0001", "samples": [sample]})
    alert = (await tenant.client.get("/v1/alerts", params={"rule": rule_id})).json()["data"][0]
    await made("/v1/api-keys", {"name": "Another", "scopes": ["sites:read"]})
    claim = await made("/v1/claims", {"site_id": site_id, "boxes": 9})
    key = await made("/v1/provisioning-keys", {"site_id": site_id, "name": "Lot", "limit": 9})
    known = {
        "organisation_id": tenant.id,
        "site_id": site_id,
        "box": "box-0001",
        "rule_id": rule_id,
        "ids": alert["id"],
        "alert_id": alert["id"],
        "claim": claim["code"],
        # A claim is open for 90 days at most.
        "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    }
    async with client_of(application, key["key"]) as provisioner, client_of(application, None) as nobody:
        clients: dict[str | None, httpx.AsyncClient] = {
            "ApiKey": tenant.client,
            "GrantLink": nobody,
            "Administrator": api,
            "ProvisioningKey": provisioner,
            None: nobody,
        }
        yield World(clients, known)


async def test_they_are_accepted_and_answered_as_documented(world: World) -> None:
    # What is sent is filled in where it stands.
    document = copy.deepcopy(openapi_document())
    complaints: list[str] = []
    done: set[str] = set()
    sent = 0
    for example in examples(document):
        answer = await world.send(example)
        sent += 1
        name = f"{example.operation['operationId']} ({example.media_type}): {json.dumps(example.body)[:120]}"
        operation = example.operation["operationId"]
        # There may be one of some things, and an example before this one has made it.
        again = answer.status_code == 409 and operation in done
        if answer.is_success:
            done.add(operation)
        elif answer.status_code != REFUSED.get(operation) and not again:
            complaints.append(f"{name}: {answer.status_code} {answer.text[:300]}")
        described = example.operation["responses"].get(str(answer.status_code), {})
        if "$ref" in described:
            described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        schema = described.get("content", {}).get(media_type, {}).get("schema")
        if schema is None:
            complaints.append(f"{name}: {answer.status_code} {media_type} is not documented")
            continue
        whole = {**schema, "components": document["components"]}
        complaints += [
            f"{name}: {error.json_path}: {error.message[:200]}"
            for error in Draft202012Validator(whole).iter_errors(answer.json())
        ]
    assert sent > 60
    assert complaints == [], "\n".join(complaints)
