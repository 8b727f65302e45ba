"""The register speaks only for what was declared, and shows what was measured minutes ago if it is open."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from xml.etree import ElementTree as ET

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.platform.kernel.application_resources import get_resource
from app.public_register.atom_feed import NAMESPACE
from app.public_register.map_tiles import TILES_PATH
from app.public_register.register_context import RegisterContext
from tests.conftest import Tenant, client_of

BOX: Final = "street-box"


@pytest.fixture
async def site(tenant: Tenant, site_id: str) -> str:
    """A street with a box, of which nobody has declared anything."""
    (await tenant.client.post("/v1/boxes", json={"id": BOX, "site_id": site_id})).raise_for_status()
    return site_id


async def send(client: httpx.AsyncClient, box: str, minutes: int, **values: float) -> None:
    """Send a sample each minute until now; none like the one before."""
    now = datetime.now(UTC).replace(microsecond=0)
    samples = [
        {
            "seq": number,
            "time": (now - timedelta(minutes=minutes - number)).isoformat(),
            "values": {name: round(value + 0.3 * (number % 7), 2) for name, value in values.items()},
        }
        for number in range(1, minutes + 1)
    ]
    answer = (await client.post("/v1/telemetry", json={"box": box, "samples": samples})).json()
    assert answer["stored"] == minutes, answer


async def decide(client: httpx.AsyncClient, site: str, purpose: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = await client.patch(f"/v1/sites/{site}/purposes/{purpose}", json=fields)
    declared: dict[str, Any] = answer.raise_for_status().json()
    return declared


async def forget(application: FastAPI) -> None:
    """Let the register read anew: what it shows may be a minute old."""
    for name in ("cache", "open_data_cache", "search_cache"):
        getattr(get_resource(application, RegisterContext), name)._entries.clear()


async def test_a_site_of_which_nothing_is_declared_claims_and_publishes_nothing(
    public: httpx.AsyncClient, tenant: Tenant, site: str
) -> None:
    # Its boxes may send all the same.
    await send(tenant.client, BOX, 30, laeq=60, pm2_5=9)
    declared = (await tenant.client.get(f"/v1/sites/{site}/purposes")).json()["data"]
    found = {each["purpose"]: (each["origin"], each["legal_basis"], each["open_data"]) for each in declared}
    assert found["noise"] == found["air_quality"] == ("default", None, False)
    assert found["acoustic_safety"] == (None, None, False)
    assert next(each for each in declared if each["purpose"] == "noise")["state"] == "active"
    shown = (await public.get(f"/public/sites/{site}/register.json")).json()
    assert not shown["declared"]
    assert {(each["origin"], each["legal_basis"]) for each in shown["purposes"]} == {("default", None)}
    english = (await public.get(f"/public/sites/{site}?lang=en")).text
    assert "Not declared yet by the operator" in english
    assert "Noise. Measured here within 30 days: Equivalent sound level, A-weighted" in english
    for claimed in ("No personal data", "(GDPR", '<svg class="chart"', 'id="now"'):
        assert claimed not in english
    french = (await public.get(f"/public/sites/{site}?lang=fr")).text
    assert "Pas encore déclaré par l\u2019exploitant" in french
    assert "pas encore déclaré par l\u2019exploitant" in (await public.get("/public?lang=fr")).text
    for name in ("data.csv", "recent.csv"):
        assert len((await public.get(f"/public/sites/{site}/{name}")).text.splitlines()) == 1
    assert (await public.get(f"/public/sites/{site}/recent.json")).json()["metrics"] == []
    assert (await public.get(f"/public/sites/{site}/dtpr.json")).json()["datachains"] == []
    (feature,) = (await public.get("/public/register.geojson?purpose=undeclared")).json()["features"]
    assert (feature["properties"]["declared"], feature["properties"]["purposes"]) == (False, [])
    whole = (await public.get("/public/register.csv")).text
    assert (await public.get("/public/register.csv?purpose=undeclared")).text == whole
    assert len((await public.get("/public/register.csv?q=nowhere")).text.splitlines()) == 1
    assert (await public.get("/public/register.json?purpose=noise")).json()["sites"] == []
    lines = list(csv.DictReader(io.StringIO(whole)))
    assert {(each["origin"], each["legal_basis"], each["open_data"]) for each in lines} == {
        ("default", "", "false")
    }


async def test_what_says_just_what_the_default_says_is_a_declaration_all_the_same(
    tenant: Tenant, site: str, owner: asyncpg.Connection
) -> None:
    said = await tenant.client.put(f"/v1/sites/{site}/purposes/odour", json={"open_data": False})
    assert said.json()["origin"] == "operator"
    nothing = await decide(tenant.client, site, "noise")
    assert nothing["origin"] == "default"
    kinds = await owner.fetch("SELECT kind FROM register_changes WHERE kind LIKE 'purpose%' ORDER BY id")
    assert [row["kind"] for row in kinds] == ["purpose_declared"]


async def test_the_newest_open_value_is_there_at_once_with_its_index_and_coverage(
    public: httpx.AsyncClient, tenant: Tenant, site: str, application: FastAPI
) -> None:
    await decide(tenant.client, site, "noise", open_data=True)
    await decide(tenant.client, site, "air_quality", legal_basis="public_task", open_data=False)
    await tenant.client.post("/v1/boxes", json={"id": "second-box", "site_id": site})
    # Three hours, so that the last hour that is over is covered.
    await send(tenant.client, BOX, 180, laeq=60, pm2_5=9)
    await send(tenant.client, "second-box", 180, laeq=70, pm2_5=9)
    answer = await public.get(f"/public/sites/{site}/recent.json")
    assert answer.headers["access-control-allow-origin"] == "*"
    (metric,) = answer.json()["metrics"]
    assert metric["metric"] == "laeq"
    assert metric["newest"]["values"] == 2
    # Both send 0.3·(180 mod 7) more: 10·log10((10^6 + 10^7) / 2) + 1.5
    assert metric["newest"]["mean"] == pytest.approx(67.404 + 0.3 * (180 % 7), abs=0.02)
    assert datetime.now(UTC) - datetime.fromisoformat(metric["newest"]["time"]) < timedelta(minutes=5)
    assert metric["coverage"] == pytest.approx(12.5, abs=0.2)
    (index,) = metric["indices"]
    assert (index["method"], index["reason"], index["coverage"]) == ("leq", None, 100.0)
    rows = list(csv.DictReader(io.StringIO((await public.get(f"/public/sites/{site}/recent.csv")).text)))
    assert [row["span"] for row in rows].count("newest") == 1
    assert {row["metric"] for row in rows} == {"laeq"}
    page = (await public.get(f"/public/sites/{site}?lang=en")).text
    assert f'<p class="newest">{metric["newest"]["mean"]:.1f}\xa0dB</p>' in page
    assert "Measured: 13% of the 24 hours" in page or "Measured: 12% of the 24 hours" in page
    # The decision is taken back: nothing of it is shown any more.
    await decide(tenant.client, site, "noise", open_data=False)
    await forget(application)
    assert (await public.get(f"/public/sites/{site}/recent.json")).json()["metrics"] == []


async def test_doubtful_values_and_those_of_another_site_are_left_out(
    public: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection, application: FastAPI
) -> None:
    await decide(tenant.client, site, "air_quality", open_data=True)
    await send(tenant.client, BOX, 120, pm2_5=9)
    await owner.execute(
        "UPDATE samples SET pm2_5 = 900 WHERE time = "
        "(SELECT time FROM samples ORDER BY time OFFSET 60 LIMIT 1)"
    )
    (metric,) = (await public.get(f"/public/sites/{site}/recent.json")).json()["metrics"]
    # The spike, and the two minutes after it was switched on.
    assert metric["left_out"] == 3
    assert max(each["mean"] for each in metric["values"]) < 12
    await owner.execute("UPDATE boxes SET came_at = now() - interval '1 hour'")
    await forget(application)
    (metric,) = (await public.get(f"/public/sites/{site}/recent.json")).json()["metrics"]
    begins = datetime.fromisoformat(metric["values"][0]["time"])
    assert datetime.now(UTC) - begins < timedelta(minutes=76)


async def test_two_hundred_boxes_one_by_one_are_one_line(
    public: httpx.AsyncClient, site: str, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "INSERT INTO register_changes (organisation_id, site_id, site_name, kind, data)"
        " SELECT organisation_id, id, name, 'boxes_added', '{\"count\": 1}' FROM sites,"
        " generate_series(1, 200) WHERE id = $1::uuid",
        site,
    )
    page = (await public.get(f"/public/changes?site={site}&lang=en")).text
    assert page.count("Boxes added") == 1
    assert "Boxes added: 201." in page
    feed = ET.fromstring((await public.get(f"/public/sites/{site}/changes.atom")).content)  # noqa: S314 (our own)
    assert len(feed.findall(f"{{{NAMESPACE}}}entry")) == 2


async def test_a_licence_and_an_address_are_wherever_the_data_are(
    public: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection
) -> None:
    change = {"open_data_licence": "cc-by-4.0", "address": "3 rue des Arts, Toulouse"}
    changed = (await tenant.client.patch(f"/v1/sites/{site}", json=change)).raise_for_status().json()
    assert changed["open_data_licence"] == "CC-BY-4.0"
    refused = await tenant.client.patch(f"/v1/sites/{site}", json={"open_data_licence": "mine"})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "unknown_licence")
    await decide(tenant.client, site, "noise", open_data=True)
    shown = (await public.get(f"/public/sites/{site}/register.json")).json()
    assert (shown["licence"], shown["address"]) == ("CC-BY-4.0", "3 rue des Arts, Toulouse")
    (feature, *_) = (await public.get(f"/public/sites/{site}/register.geojson")).json()["features"]
    assert feature["properties"]["licence"] == "CC-BY-4.0"
    assert (await public.get(f"/public/sites/{site}/recent.json")).json()["licence"] == "CC-BY-4.0"
    for name in ("data.csv", "recent.csv"):
        link = (await public.get(f"/public/sites/{site}/{name}")).headers["link"]
        assert link == '<https://spdx.org/licenses/CC-BY-4.0.html>; rel="license"'
    feed = ET.fromstring((await public.get(f"/public/sites/{site}/changes.atom")).content)  # noqa: S314 (our own)
    assert feed.findtext(f"{{{NAMESPACE}}}rights") == (
        "Creative Commons Attribution 4.0 International (CC-BY-4.0)"
    )
    page = (await public.get(f"/public/sites/{site}?lang=en")).text
    assert "Creative Commons Attribution 4.0 International (CC-BY-4.0)</a>" in page
    assert "3 rue des Arts" in (await public.get("/public?q=ARTS&lang=en")).text
    assert "3 rue des Arts" not in (await public.get("/public?q=elsewhere&lang=en")).text
    # The history says that there is another address, and not which it was.
    told = await owner.fetch("SELECT kind, data::text FROM register_changes WHERE kind LIKE '%\\_changed'")
    data = {row["kind"]: json.loads(row["data"]) for row in told}
    assert data["address_changed"] == {}
    assert data["licence_changed"] == {"from": None, "to": "CC-BY-4.0"}
    assert (
        "Licence of open data changed: not set → CC-BY-4.0."
        in (await public.get(f"/public/changes?site={site}&lang=en")).text
    )


async def test_a_licence_of_the_installation_is_that_of_sites_that_name_none(
    public: httpx.AsyncClient, site: str, application: FastAPI
) -> None:
    object.__setattr__(get_resource(application, RegisterContext), "licence", "etalab-2.0")
    await forget(application)
    assert (await public.get(f"/public/sites/{site}/register.json")).json()["licence"] == "etalab-2.0"


async def test_map_data_follow_the_search(public: httpx.AsyncClient, tenant: Tenant, site: str) -> None:
    await decide(tenant.client, site, "noise", legal_basis="public_task")
    for query, count in (
        ("", 1),
        ("?q=alsace", 1),
        ("?q=nowhere", 0),
        ("?purpose=noise", 1),
        ("?purpose=odour", 0),
        ("?purpose=undeclared", 0),
        ("?q=43.6,+1.44&purpose=noise", 1),
    ):
        found = (await public.get(f"/public/register.geojson{query}")).json()
        assert len(found["features"]) == count, query
        page = (await public.get(f"/public{query or '?'}&lang=en")).text
        assert f"<dt>Sites</dt><dd>{count}</dd>" in page, query
        assert page.count('<h3><a href="/public/sites/') == count
    refused = await public.get("/public/register.geojson?near=1")
    assert refused.json()["code"] == "unknown_parameter"


async def test_only_the_page_with_the_button_may_ask_for_a_position(
    public: httpx.AsyncClient, site: str
) -> None:
    allowed = (await public.get("/public")).headers["permissions-policy"]
    assert "geolocation=(self)" in allowed
    for address in (f"/public/sites/{site}", "/public/changes", "/public/register.json", "/healthz"):
        headers = (await public.get(address)).headers.get_list("permissions-policy")
        assert headers == ["camera=(), geolocation=(), microphone=(), payment=(), usb=()"], address


async def test_without_an_archive_there_is_none(application: FastAPI) -> None:
    async with client_of(application, None) as client:
        assert (await client.get(TILES_PATH)).status_code == 404
