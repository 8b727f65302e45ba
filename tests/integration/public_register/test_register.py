"""The public register: what it shows of what is configured, what it never shows, and how it answers."""

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
from app.public_register.register_context import RegisterContext
from tests.conftest import Tenant

LONGITUDE, LATITUDE = 1.445317, 43.604589
PLACE: Final = {"type": "Point", "coordinates": [LONGITUDE, LATITUDE]}
BOX: Final = "secret-box-id-0001"
SECRETS: Final = (BOX, "Bedroom of Alice", "https://example.com/secret-hook", "night-shift@example.com")
PURPOSE: Final = """
UPDATE site_purposes SET legal_basis = 'public_task', legal_reference = 'Code de l''environnement, L571-10',
    controller = 'Ville de Toulouse', contact = 'donnees@example.org', description = 'To map noise.',
    description_fr = 'Pour cartographier le bruit.', declared_by = gen_random_uuid(), declared_kind = 'user',
    open_data = true
WHERE site_id = $1 AND purpose = 'noise'
"""


@pytest.fixture
async def site(tenant: Tenant, site_id: str, owner: asyncpg.Connection) -> str:
    """A street with a box, a declared purpose and a recipient."""
    moved = await tenant.client.patch(f"/v1/sites/{site_id}", json={"location": PLACE})
    moved.raise_for_status()
    boxes = {"id": BOX, "site_id": site_id, "name": "Bedroom of Alice", "location": PLACE}
    (await tenant.client.post("/v1/boxes", json=boxes)).raise_for_status()
    hook = {"url": "https://example.com/secret-hook", "recipient": "Police municipale"}
    (await tenant.client.post("/v1/webhooks", json=hook)).raise_for_status()
    await owner.execute(PURPOSE, site_id)
    return site_id


async def page(client: httpx.AsyncClient, path: str, **headers: str) -> str:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_a_site_answers_what_where_why_by_what_right_how_long_who(
    public: httpx.AsyncClient, site: str
) -> None:
    listed = await page(public, "/public?lang=en")
    assert "Rue d&#39;Alsace-Lorraine" in listed
    assert f"/public/sites/{site}?lang=en" in listed
    english = await page(public, f"/public/sites/{site}?lang=en")
    for said in (
        "Sound level",
        "within 100\xa0m of latitude",
        "To map noise.",
        "<dd>Public task (GDPR, Article 6(1)(e))",
        "For this purpose",
        # Of what came with the site nobody has said anything.
        "no legal basis is claimed, and nothing is published",
        "Nothing measured within 30 days: Air quality, Climate and indoor air, Odours and State",
        "yes; there are none for the last 365 days yet",
        "There are no figures for the last 365 days yet.",
        f"/public/requests?site={site}&amp;lang=en",
        "Code de l&#39;environnement, L571-10",
        "without limit of time",
        "Ville de Toulouse",
        "mailto:donnees@example.org",
        "Police municipale, by automatic transfer",
        "The operator has granted no third party access to data of this site.",
        "Reports by mail and automatic transfers of measurements are not listed here.",
        "not yet given by the operator",
        "The operator names no licence for these data",
        "No acoustic incidents are recognised here.",
        "Nothing was rejected within 365 days.",
    ):
        assert said in english, said
    french = await page(public, f"/public/sites/{site}?lang=fr")
    assert '<html lang="fr">' in french
    for said in (
        "Pour cartographier le bruit.",
        "Mission d\u2019intérêt public (RGPD, article 6, § 1, e)",
        "pas encore indiqué par l\u2019exploitant",
        "Police municipale, par envoi automatique",
    ):
        assert said in french, said
    assert len(english.encode()) < 60_000
    assert len(listed.encode()) < 60_000


ADDRESSES: Final = (
    "/public",
    "/public?lang=fr&q=alsace",
    "/public/changes",
    "/public/about",
    "/public/register.geojson",
    "/public/register.csv",
    "/public/register.json",
    "/public/changes.atom",
    "/public/sites/{site}",
    "/public/sites/{site}/register.geojson",
    "/public/sites/{site}/register.json",
    "/public/sites/{site}/data.csv",
    "/public/sites/{site}/recent.json",
    "/public/sites/{site}/recent.csv",
    "/public/sites/{site}/dtpr.json",
    "/public/sites/{site}/changes.atom",
)


async def test_nothing_that_is_not_public_is_anywhere(
    public: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection
) -> None:
    declared = await owner.fetchval("SELECT declared_by FROM site_purposes WHERE purpose = 'noise'")
    hidden = (*SECRETS, str(declared), tenant.id, tenant.key, str(LONGITUDE), str(LATITUDE), "password")
    for address in ADDRESSES:
        answer = await public.get(address.format(site=site))
        assert answer.status_code == 200, address
        for secret in hidden:
            assert secret not in answer.text, (address, secret)


async def test_a_site_without_boxes_is_not_in_the_register_and_has_no_page(
    public: httpx.AsyncClient, site_id: str
) -> None:
    assert (await public.get("/public/register.json")).json()["sites"] == []
    answer = await public.get(f"/public/sites/{site_id}?lang=fr")
    assert answer.status_code == 404
    assert "Ce site ne figure pas dans le registre" in answer.text
    assert (await public.get(f"/public/sites/{site_id}/register.json")).json()["code"] == "not_found"


async def test_the_operator_sets_the_precision_and_nothing_else_hides_a_site(
    public: httpx.AsyncClient, tenant: Tenant, site: str
) -> None:
    change = {"register_precision_m": 10_000}
    changed = await tenant.client.patch(f"/v1/sites/{site}", json=change)
    assert changed.json()["register_precision_m"] == 10_000
    (shown,) = (await public.get("/public/register.json")).json()["sites"]
    assert shown["precision_m"] == 10_000
    assert abs(shown["longitude"] - LONGITUDE) > 1e-4
    refused = await tenant.client.patch(f"/v1/sites/{site}", json={"register_precision_m": 50})
    assert refused.status_code == 422


async def test_it_is_cached_tagged_and_packed(public: httpx.AsyncClient, site: str) -> None:
    address = f"/public/sites/{site}?lang=en"
    plain = await public.get(address, headers={"Accept-Encoding": "identity"})
    packed = await public.get(address, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.text == packed.text
    assert plain.headers["etag"] != packed.headers["etag"]
    assert plain.headers["cache-control"] == "public, max-age=30"
    assert "Accept-Language" in plain.headers["vary"]
    again = await public.get(
        address, headers={"Accept-Encoding": "identity", "If-None-Match": plain.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert plain.headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' data:;")
    english = await public.get("/public", headers={"Accept-Language": "de, fr;q=0.4, en;q=0.6"})
    french = await public.get("/public", headers={"Accept-Language": "fr-CA"})
    assert (english.headers["content-language"], french.headers["content-language"]) == ("en", "fr")
    data = await public.get("/public/register.geojson")
    assert data.headers["access-control-allow-origin"] == "*"
    assert data.headers["content-type"] == "application/geo+json"


async def test_the_history_tells_each_change_and_no_more(
    public: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection
) -> None:
    patch = tenant.client.patch
    for change in (
        {"name": "Rue d'Alsace"},
        {"register_precision_m": 1000},
        # Within the same cell: nothing that anybody could see.
        {"location": {"type": "Point", "coordinates": [LONGITUDE + 1e-6, LATITUDE]}},
        {"location": {"type": "Point", "coordinates": [2.0, 43.0]}},
        {"retention_days": 30},
    ):
        (await patch(f"/v1/sites/{site}", json=change)).raise_for_status()
    own = {"default_days": 30, "purposes": {"acoustic_safety": 7}, "removes": True}
    (await tenant.client.put(f"/v1/sites/{site}/retention", json=own)).raise_for_status()
    await owner.execute(
        "UPDATE site_purposes SET ends_at = now() WHERE site_id = $1 AND purpose = 'odour'", site
    )
    (await tenant.client.delete(f"/v1/boxes/{BOX}")).raise_for_status()
    rows = await owner.fetch("SELECT kind, data::text FROM register_changes ORDER BY id")
    kinds = [row["kind"] for row in rows]
    assert kinds == [
        "site_added",
        "boxes_added",
        "purpose_declared",
        "purpose_changed",
        "site_renamed",
        "precision_changed",
        "site_moved",
        "retention_changed",
        "retention_changed",
        "purpose_ended",
        "boxes_removed",
    ]
    told = json.loads(rows[kinds.index("purpose_changed")]["data"])
    # What was a default is declared now, and published.
    assert told["changes"] == {"open_data": {"from": False, "to": True}}
    declared = json.loads(rows[kinds.index("purpose_declared")]["data"])
    assert declared == {"purpose": "noise", "legal_basis": "public_task", "sensitive": False}
    english, french = [await page(public, f"/public/changes?lang={each}") for each in ("en", "fr")]
    for said in (
        "Site renamed; it was called “Rue d&#39;Alsace-Lorraine”.",
        "Purpose declared: Noise. Legal basis: Public task (GDPR, Article 6(1)(e)).",
        "Purpose changed: Noise (publication of figures: no → yes).",
        "Precision of the locations changed from 100\xa0m to 1\xa0km.",
        "Storage period changed: data older than 30 days are rejected on receipt",
        "period changed: Acoustic safety: 7 days, then removed; all else: 30 days, then removed.",
        "Purpose ended: Odours.",
    ):
        assert said in english, said
    assert "Finalité terminée\xa0: Odeurs." in french
    feed = ET.fromstring((await public.get("/public/changes.atom?lang=en")).content)  # noqa: S314 (our own)
    entries = feed.findall(f"{{{NAMESPACE}}}entry")
    assert len(entries) == len(rows)
    ids = [entry.findtext(f"{{{NAMESPACE}}}id") for entry in entries]
    assert len(set(ids)) == len(ids)
    for name in ("id", "title", "updated"):
        assert all(each.findtext(f"{{{NAMESPACE}}}{name}") for each in (feed, *entries))


async def test_no_process_writes_the_history(
    tenant: Tenant,
    site: str,
    database_url: str,
    settings: Any,  # noqa: ANN401
) -> None:
    del tenant, site, settings
    connection = await asyncpg.connect(database_url, server_settings={"role": "vigie_api"})
    await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
    for statement in (
        "DELETE FROM register_changes",
        "UPDATE register_changes SET kind = ''",
        "SELECT register_tell(gen_random_uuid(), gen_random_uuid(), '', '{}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_the_register_s_role_sees_what_is_public_and_nothing_else(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v', 'p')"
    )
    await owner.close()
    role = {"role": "vigie_public", "vigie.reach": "all"}
    connection = await asyncpg.connect(database_url, server_settings=role)
    seen = set()
    for row in tables:
        try:
            await connection.execute(f'SELECT FROM "{row["relname"]}" LIMIT 1')
        except asyncpg.InsufficientPrivilegeError:
            continue
        seen.add(row["relname"])
    columns = await connection.fetch(
        "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS names"
        " FROM information_schema.columns WHERE table_name LIKE 'public\\_%' GROUP BY 1"
    )
    await connection.close()
    assert seen == {row["table_name"] for row in columns}
    shown = {name for row in columns for name in row["names"]}
    assert not shown & {"organisation_id", "url", "target", "declared_by", "approved_by", "box", "box_key"}
    assert not shown & {"password_hash", "attributes", "tags", "description_of_endpoint", "events"}


SAMPLES: Final = """
INSERT INTO hourly SELECT date_trunc('day', now(), 'UTC'), b.key, m.metric, array_fill(60, '{24}'),
    array_fill(m.mean, '{24}'), array_fill(0::float8, '{24}'), array_fill(0::float8, '{24}'),
    array_fill(0::real, '{24}'), array_fill(0::real, '{24}'), array_fill(0::real, '{24}'),
    array_fill(0::real, '{24}')
FROM boxes b, (VALUES ('laeq', 60::float8), ('co2', 900), ('pm10', 12)) AS m (metric, mean)
"""


async def test_what_is_measured_is_said_before_its_hour_is_over(
    public: httpx.AsyncClient, tenant: Tenant, site: str
) -> None:
    sample = {"seq": 1, "time": datetime.now(UTC).isoformat(), "values": {"no2": 21.5}}
    stored = await tenant.client.post("/v1/telemetry", json={"box": BOX, "samples": [sample]})
    assert stored.json()["stored"] == 1
    shown = await page(public, f"/public/sites/{site}?lang=en")
    assert "Air quality. Measured here within 30 days: Nitrogen dioxide" in shown
    assert "No measurements within 30 days. May be measured: Equivalent sound level" in shown


async def test_open_data_are_published_and_no_others(
    public: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection
) -> None:
    second = {"id": "second-box", "site_id": site}
    (await tenant.client.post("/v1/boxes", json=second)).raise_for_status()
    await owner.execute(SAMPLES)
    await owner.execute(
        "UPDATE hourly SET mean = array_fill(70::float8, '{24}') WHERE metric = 'laeq' AND box_key ="
        " (SELECT key FROM boxes WHERE id = 'second-box')"
    )
    # What is no purpose any more is not open either.
    await owner.execute(
        "UPDATE site_purposes SET ends_at = now() - interval '1 hour' WHERE purpose = 'air_quality'"
    )
    text = (await public.get(f"/public/sites/{site}/data.csv")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["metric"] for row in rows} == {"laeq"}
    # 10·log10((10^6 + 10^7) / 2)
    assert {row["mean"] for row in rows} == {"67.404"}
    assert {row["values"] for row in rows} == {"120"}
    shown = await page(public, f"/public/sites/{site}?lang=en")
    assert shown.count('<svg class="chart"') == 1
    assert "67.4" in shown
    assert "Carbon dioxide" in shown  # measured here, and not published


async def test_values_from_before_a_purpose_began_are_not_published(
    public: httpx.AsyncClient, site: str, owner: asyncpg.Connection
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(days=1)
    await owner.execute(SAMPLES.replace("now()", f"timestamptz '{yesterday.isoformat()}'"))
    await owner.execute(
        "INSERT INTO daily SELECT day, key, 24, 'laeq', 60, 0, 0, 0, 0, 0, 0"
        " FROM boxes, unnest($1::timestamptz[]) AS day",
        [yesterday - timedelta(days=1), yesterday, today],
    )
    # In the middle of an hour and of a day.
    began = yesterday + timedelta(hours=21, minutes=30)
    await owner.execute("UPDATE site_purposes SET starts_at = $1 WHERE purpose = 'noise'", began)
    text = (await public.get(f"/public/sites/{site}/data.csv")).text
    times: dict[str, list[datetime]] = {"hour": [], "day": []}
    for row in csv.DictReader(io.StringIO(text)):
        times[row["span"]].append(datetime.fromisoformat(row["time"]))
    assert times == {"hour": [today - timedelta(hours=2), today - timedelta(hours=1)], "day": [today]}


async def test_a_site_that_no_box_ever_stood_at_is_in_no_history(
    public: httpx.AsyncClient, tenant: Tenant, site: str
) -> None:
    plan = {"name": "A plan", "kind": "street", "timezone": "Europe/Paris", "location": PLACE}
    planned = (await tenant.client.post("/v1/sites", json=plan)).json()["id"]
    (await tenant.client.patch(f"/v1/sites/{planned}", json={"name": "Another plan"})).raise_for_status()
    for address in ("/public/changes", "/public/changes.atom", f"/public/changes?site={planned}"):
        assert "plan" not in (await public.get(f"{address}{'&' if '?' in address else '?'}lang=en")).text
    assert "site_added" not in (await public.get(f"/public/changes?site={site}")).text
    # What was in the register once stays in its history.
    (await tenant.client.delete(f"/v1/boxes/{BOX}")).raise_for_status()
    assert "Rue d" in (await public.get(f"/public/changes?before=999999&site={site}")).text


async def test_what_a_box_measured_elsewhere_is_not_published_where_it_stands_now(
    public: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection
) -> None:
    office = {"name": "Office", "kind": "office", "timezone": "Europe/Paris", "location": PLACE}
    inside = (await tenant.client.post("/v1/sites", json=office)).json()["id"]
    moved = {"id": "moving-box", "site_id": inside}
    (await tenant.client.post("/v1/boxes", json=moved)).raise_for_status()
    await owner.execute(SAMPLES.replace("now()", "now() - interval '2 days'"))
    await owner.execute("DELETE FROM hourly USING boxes b WHERE b.key = box_key AND b.id <> 'moving-box'")
    (await tenant.client.patch("/v1/boxes/moving-box", json={"site_id": site})).raise_for_status()
    data = await public.get(f"/public/sites/{site}/data.csv")
    assert data.text.splitlines() == ["time,span,metric,unit,mean,values"]
    # From here on it is this site's.
    await owner.execute("UPDATE boxes SET came_at = now() - interval '300 days' WHERE id = 'moving-box'")
    assert await owner.fetchval("SELECT count(*) FROM public_hours WHERE site_id = $1::uuid", site) > 0


async def test_a_site_is_kept_once_however_its_id_is_written(
    public: httpx.AsyncClient, application: FastAPI, site: str
) -> None:
    entries = get_resource(application, RegisterContext).cache._entries
    written = (site, site.upper(), site.replace("-", ""), f"urn:uuid:{site}", f"{{{site}}}")
    for name in ("register.geojson", "register.json", "data.csv", "dtpr.json", "changes.atom"):
        answers = [await public.get(f"/public/sites/{each}/{name}") for each in written]
        assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
        assert len({each.headers["etag"] for each in answers}) == 1
    assert sum(site.replace("-", "") in str(key).replace("-", "").lower() for key in entries) == 6
