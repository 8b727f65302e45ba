"""Forms that were opened before another person changed the same thing: they undo nothing unasked."""

from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.conftest import STREET, Tenant
from tests.integration.console.test_administration import ADMINISTRATION
from tests.integration.console.test_report_schedules import mail_server
from tests.integration.console.visiting import ConsoleClient, read_done, read_field
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

__all__ = ["mail_server"]

MEANWHILE: Final = "Somebody else changed this meanwhile."
PLACE: Final = {"kind": "street", "timezone": "Europe/Paris", "latitude": "43.6", "longitude": "1.44"}
HOOK: Final = {"url": "https://example.com/hook", "events": ["alert.firing"]}
SCHEDULE: Final = {"report": "day", "hour": 7, "recipients": ["a@example.com"], "formats": ["pdf"]}


class StaleForm(NamedTuple):
    """A form, and what another person changes while it is open; `{…}` are ids.

    Attributes:
        page: Its page, to which it is sent too.
        resource: What it changes.
        change: The body of the other person.
        fields: What the form has.
    """

    page: str
    resource: str
    change: dict[str, Any]
    fields: dict[str, Any]


FORMS: Final = {
    "organisation": StaleForm(
        f"{ADMINISTRATION}/organisations/{{organisation}}",
        "/v1/organisations/{organisation}",
        {"name": "Theirs"},
        {"name": "Mine"},
    ),
    "site": StaleForm(
        "/console/sites/{site}/edit", "/v1/sites/{site}", {"address": "Theirs"}, {**PLACE, "name": "Mine"}
    ),
    "box": StaleForm(
        "/console/boxes/north/edit",
        "/v1/boxes/north",
        {"tags": ["theirs"]},
        {"site_id": "{site}", "interval_s": "60", "name": "Mine"},
    ),
    "configuration": StaleForm(
        "/console/boxes/north/configuration",
        "/v1/boxes/north/config",
        {"config": {"theirs": 1}},
        {"config": '{{"mine": 1}}'},
    ),
    "webhook": StaleForm(
        "/console/delivery/{webhook}/settings",
        "/v1/webhooks/{webhook}",
        {"description": "Theirs"},
        {**HOOK, "recipient": "Mine", "reach": "all"},
    ),
    "member": StaleForm(
        f"{ADMINISTRATION}/members/{{member}}",
        "/v1/members/{member}",
        {"role": "installer"},
        {"role": "operator", "reach": "all"},
    ),
    "purpose": StaleForm(
        f"{ADMINISTRATION}/purposes/{{site}}/noise/declare",
        "/v1/sites/{site}/purposes/noise",
        {"contact": "theirs@example.com"},
        {"controller": "Mine"},
    ),
    "schedule": StaleForm(
        f"{ADMINISTRATION}/reports/schedules/{{schedule}}",
        "/v1/report-schedules/{schedule}",
        {"hour": 5},
        {**SCHEDULE, "hour": "9", "recipients": "a@example.com", "language": "en"},
    ),
}


@pytest.fixture
async def ids(tenant: Tenant, owner_person: SignedInPerson, folk: OrganisationPeople) -> dict[str, str]:
    """The ids of something of each kind."""

    async def make(path: str, **body: object) -> str:
        made = (await owner_person.client.post(path, json=body)).raise_for_status().json()
        identifier: str = made["id"] if "id" in made else made["box"]["id"]
        return identifier

    site = await make("/v1/sites", **STREET)
    await make("/v1/boxes", id="north", site_id=site)
    return {
        "organisation": tenant.id,
        "site": site,
        "webhook": await make("/v1/webhooks", **HOOK),
        "member": (await folk.join("Marie", "viewer")).member_id,
        "schedule": await make("/v1/report-schedules", site_id=site, **SCHEDULE),
    }


def _fill(value: Any, ids: dict[str, str]) -> Any:  # noqa: ANN401 (a field)
    return value.format(**ids) if isinstance(value, str) else value


async def _read(client: httpx.AsyncClient, path: str) -> Any:  # noqa: ANN401 (JSON)
    return (await client.get(path)).raise_for_status().json()


@pytest.mark.parametrize("kind", FORMS)
async def test_a_form_that_was_opened_before_a_change_does_not_undo_it(
    console: ConsoleClient, owner_person: SignedInPerson, ids: dict[str, str], kind: str
) -> None:
    client, form = owner_person.client, FORMS[kind]
    page, resource = form.page.format(**ids), form.resource.format(**ids)
    fields = {name: _fill(value, ids) for name, value in form.fields.items()}
    fields["etag"] = read_field(await console.read(page), "etag")
    method = "PUT" if kind == "configuration" else "PATCH"
    (await client.request(method, resource, json=form.change)).raise_for_status()
    theirs = await _read(client, resource)
    refused = await console.send(page, fields, 412)
    assert MEANWHILE in refused.text
    assert await _read(client, resource) == theirs
    # Whoever read that may replace it.
    fields["etag"] = read_field(refused.text, "etag")
    assert read_done(await console.send(page, fields)) in {"saved", "declared", "configured"}
    assert await _read(client, resource) != theirs


async def test_a_refused_form_does_not_forget_how_old_it_is(
    console: ConsoleClient, owner_person: SignedInPerson, site_id: str
) -> None:
    path = f"/console/sites/{site_id}/edit"
    etag = read_field(await console.read(path), "etag")
    change = {"name": "Theirs"}
    (await owner_person.client.patch(f"/v1/sites/{site_id}", json=change)).raise_for_status()
    refused = await console.send(path, {**PLACE, "name": "", "etag": etag}, 422)
    assert read_field(refused.text, "etag") == etag
    for odd in (etag, "\u65e5\u672c"):
        assert MEANWHILE in (await console.send(path, {**PLACE, "name": "Mine", "etag": odd}, 412)).text
