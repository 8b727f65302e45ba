"""ETags over REST, on a real database: what is read again, and changes that depend on what was seen."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.http.contract.etags import IF_MATCH
from app.platform.kernel.application_resources import get_resource
from app.processes.api_application import create_app
from app.registry.settings import EnrolmentSettings
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.openapi import openapi_document

STALE = {"If-Match": '"AAAAAAAAAAAAAAAAAAAAAA"'}
SITE = {
    "name": "Quai",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4396, 43.6009]},
    "attributes": {"b": 1.5, "a": "é"},
}
RULE = {
    "name": "Dust",
    "severity": "warning",
    "condition": {"metric": "pm2_5", "operator": ">", "threshold": 25},
}
MUTED = {"matchers": {"severities": ["info"]}, "ends_at": "2099-01-01T00:00:00Z", "comment": "Roadworks"}
INHIBITION = {
    "name": "Grave",
    "equal": ["box"],
    "source": {"severities": ["critical"]},
    "target": {"severities": ["info"]},
}
DOCUMENT = openapi_document()


class Kind(NamedTuple):
    """A kind of resource: how one is made, and two changes of it."""

    path: str
    body: dict[str, Any]
    changes: tuple[dict[str, Any], dict[str, Any]]
    at_site: bool = False
    made_by: str = "POST"
    as_admin: bool = False


NAMES = ({"name": "Other"}, {"name": "Third"})
TEXTS = ({"description": "Other"}, {"description": "Third"})
KINDS = {
    "organisation": Kind("/v1/organisations", {"name": "Client"}, NAMES, as_admin=True),
    "api key": Kind("/v1/api-keys", {"name": "dashboard", "scopes": ["sites:read"]}, NAMES),
    "site": Kind("/v1/sites", SITE, NAMES),
    "box": Kind("/v1/boxes", {"id": "box-0001"}, NAMES, at_site=True),
    "rule": Kind("/v1/rules", RULE, NAMES, at_site=True),
    "silence": Kind("/v1/silences", MUTED, ({"comment": "Other"}, {"comment": "Third"})),
    "inhibition": Kind("/v1/inhibitions", INHIBITION, NAMES),
    "webhook": Kind("/v1/webhooks", {"url": "http://127.0.0.1:9/", "headers": {"X-One": "1"}}, TEXTS),
    "mqtt": Kind("/v1/channels", {"kind": "mqtt"}, TEXTS),
    "claim": Kind("/v1/claims", {}, NAMES, at_site=True),
    "provisioning key": Kind("/v1/provisioning-keys", {"name": "Fleet"}, NAMES, at_site=True),
}
Make = Callable[[Kind], Awaitable[tuple[httpx.AsyncClient, httpx.Response]]]


@pytest.fixture
def make(tenant: Tenant, api: httpx.AsyncClient, site_id: str, application: FastAPI) -> Make:
    get_resource(application, EnrolmentSettings).enabled = True

    async def made(kind: Kind) -> tuple[httpx.AsyncClient, httpx.Response]:
        client = api if kind.as_admin else tenant.client
        body = {**kind.body, **({"site_id": site_id} if kind.at_site else {})}
        return client, (await client.post(kind.path, json=body)).raise_for_status()

    return made


def codes(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("name", KINDS)
async def test_each_resource_is_read_again_and_changed_by_its_tag(name: str, make: Make) -> None:
    kind = KINDS[name]
    client, made = await make(kind)
    url = f"{kind.path}/{made.json()['id']}"
    read = await client.get(url)
    tag = read.headers["etag"]
    assert made.headers["etag"] == tag
    for given in (tag, f'"x", W/{tag}', "*"):
        again = await client.get(url, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(url, headers={"If-None-Match": '"x"'})).json() == read.json()
    first, second = kind.changes
    for stale in (STALE, {"If-Match": f"W/{tag}"}, {"If-Match": "?"}):
        assert codes(await client.patch(url, json=first, headers=stale)) == (412, "precondition_failed")
    assert (await client.get(url)).json() == read.json()
    changed = await client.patch(url, json=first, headers={"If-Match": f'"x", {tag}'})
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] not in {tag, ""}
    assert (await client.get(url)).headers["etag"] == changed.headers["etag"]
    # Who names no tag changes it all the same; who names the former one does not delete it.
    assert (await client.patch(url, json=second)).status_code == 200
    before = await client.get(url)
    lost = await client.delete(url, headers={"If-Match": changed.headers["etag"]})
    assert codes(lost) == (412, "precondition_failed")
    assert (await client.get(url)).content == before.content
    assert (await client.patch(url, json={}, headers={"If-Match": "*"})).status_code == 200
    newest = (await client.get(url)).headers["etag"]
    assert (await client.delete(url, headers={"If-Match": newest})).status_code == 204
    assert (await client.delete(url, headers=STALE)).status_code in {404, 412}


async def test_a_boxs_configuration_has_a_tag(tenant: Tenant, make: Make, database: Database) -> None:
    await make(KINDS["box"])
    url = "/v1/boxes/box-0001/config"
    nothing = (await tenant.client.get(url)).headers["etag"]
    wanted = {"config": {"leds": False}}
    assert codes(await tenant.client.put(url, json=wanted, headers=STALE)) == (412, "precondition_failed")
    put = await tenant.client.put(url, json=wanted, headers={"If-Match": nothing})
    assert put.status_code == 200
    async with database.write() as session:
        await session.execute(text("UPDATE box_configs SET reported = '{}', reported_at = now()"))
    read = (await tenant.client.get(url)).headers["etag"]
    assert read != put.headers["etag"]
    assert codes(await tenant.client.delete(url, headers={"If-Match": nothing})) == (
        412,
        "precondition_failed",
    )
    assert (await tenant.client.delete(url, headers={"If-Match": put.headers["etag"]})).status_code == 200


async def test_an_invitation_has_a_tag(tenant: Tenant) -> None:
    body = {"email": "ada@example.com", "role": "viewer"}
    made = (await tenant.client.post("/v1/invitations", json=body)).raise_for_status()
    url, tag = f"/v1/invitations/{made.json()['id']}", made.headers["etag"]
    assert (await tenant.client.get(url, headers={"If-None-Match": tag})).status_code == 304
    assert codes(await tenant.client.delete(url, headers=STALE)) == (412, "precondition_failed")
    assert (await tenant.client.delete(url, headers={"If-Match": tag})).status_code == 204


async def test_quotas_have_a_tag(api: httpx.AsyncClient, tenant: Tenant) -> None:
    url = f"/v1/organisations/{tenant.id}/quotas"
    tag = (await api.get(url)).headers["etag"]
    assert (await api.put(url, json={"boxes": 5}, headers={"If-Match": tag})).status_code == 200
    lost = await api.put(url, json={"boxes": 6}, headers={"If-Match": tag})
    assert codes(lost) == (412, "precondition_failed")


async def test_what_moves_by_itself_is_read_anew_and_stops_no_change(
    tenant: Tenant, make: Make, database: Database
) -> None:
    _, made = await make(KINDS["box"])
    url, tag = "/v1/boxes/box-0001", made.headers["etag"]
    async with database.write() as session:
        await session.execute(text("UPDATE boxes SET battery = 12, state = 'online', state_at = now()"))
    read = await tenant.client.get(url, headers={"If-None-Match": tag})
    assert (read.status_code, read.json()["battery"]) == (200, 12)
    assert read.headers["etag"].partition(".")[0] == tag.partition(".")[0]
    assert read.headers["etag"] != tag
    changed = await tenant.client.patch(url, json={"name": "Other"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert codes(await tenant.client.patch(url, json={}, headers={"If-Match": tag})) == (
        412,
        "precondition_failed",
    )


@pytest.mark.parametrize("name", ["site", "rule", "api key", "claim", "silence"])
async def test_of_two_who_saw_the_same_one_changes_it(name: str, make: Make) -> None:
    kind = KINDS[name]
    client, made = await make(kind)
    url, seen = f"{kind.path}/{made.json()['id']}", {"If-Match": made.headers["etag"]}
    for _ in range(3):
        answers = await asyncio.gather(
            *(client.patch(url, json=change, headers=seen) for change in kind.changes)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        (won,) = (answer for answer in answers if answer.status_code == 200)
        assert (await client.get(url)).json() == won.json()
        back = await client.patch(url, json={key: made.json()[key] or "x" for key in kind.changes[0]})
        seen = {"If-Match": back.headers["etag"]}


async def test_what_is_not_there_is_not_found_whatever_is_expected(tenant: Tenant) -> None:
    for headers in ({"If-Match": "*"}, STALE):
        assert (await tenant.client.patch("/v1/boxes/none", json={}, headers=headers)).status_code == 404


async def test_lists_and_refusals_have_no_tag(tenant: Tenant, make: Make) -> None:
    await make(KINDS["box"])
    for path in ("/v1/boxes", "/v1/boxes/none", "/v1/sites"):
        answer = await tenant.client.get(path, headers={"If-None-Match": "*"})
        assert answer.status_code in {200, 404}
        assert "etag" not in answer.headers


def changes() -> Iterator[tuple[str, str]]:
    for context in iter_route_contexts(create_app(VigieSettings(_env_file=None)).routes):
        path = context.path_format or ""
        for method in sorted((context.methods or set()) & {"PATCH", "PUT", "DELETE"}):
            if path.startswith("/v1"):
                yield method.lower(), path


# What is cancelled changes all the time, what was refused never does; one's own is nobody else's to change.
# Second factors are removed all together, links never change, and what an edge reports changes each second.
WITHOUT = (
    *("/v1/quarantine/", "/v1/rules/backtests/", "/v1/replays/", "/v1/me/", "/v1/sessions/"),
    *(
        "/v1/members/{member_id}/second-factors/",
        "/v1/webhooks/{webhook}/portal-links/",
        "/v1/cluster/edges/",
        "/v1/grants/{grant_id}/keys/",
        "/v1/grant/keys/",
    ),
)


@pytest.mark.parametrize(("method", "path"), list(changes()))
def test_every_change_may_depend_on_a_tag(method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    takes = IF_MATCH in {each["name"] for each in operation.get("parameters", [])}
    assert takes is not f"{path}/".startswith(WITHOUT)
    assert takes is ("412" in operation["responses"])
    if takes:
        read = DOCUMENT["paths"][path]["get"]
        assert "304" in read["responses"]
        assert "ETag" in read["responses"]["200"]["headers"]
