"""Sites in the console: list, forms, the page of a site, its chart and its downloads."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from playwright.async_api import Page

from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.scenarios.processes import until

HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'
SITE = {"name": "Quai", "kind": "street", "timezone": "Europe/Paris", "latitude": "43.6", "longitude": "1.44"}
_YEAR = """
INSERT INTO samples (box_key, time, laeq, pm2_5, no2, temperature, humidity)
SELECT b.key, t.time, 60 + 5 * sin(extract(epoch FROM t.time) / 9000), 11, 20, 15, 60 FROM boxes b,
    generate_series(date_trunc('hour', now()) - interval '365 days', now() - interval '2 days', '1 hour')
    AS t (time)
"""
_DAYS = """
INSERT INTO samples (box_key, time, laeq, pm2_5)
SELECT b.key, t.time, 60 + 5 * sin(extract(epoch FROM t.time) / 9000),
    CASE WHEN t.n = 400 THEN 800 ELSE 9 + 4 * sin(extract(epoch FROM t.time) / 15000) END
FROM boxes b, (SELECT n, date_trunc('minute', now()) - n * interval '1 minute'
    FROM generate_series(3, 1600) AS g (n)) AS t (n, time) WHERE t.n NOT BETWEEN 500 AND 600
"""


async def _post(client: httpx.AsyncClient, path: str, body: object) -> Any:  # noqa: ANN401 (JSON)
    return (await client.post(path, json=body)).raise_for_status().json()


def period(hours: float, *, end: datetime | None = None) -> str:
    last = end or datetime.now(UTC) + timedelta(seconds=2)
    first = last - timedelta(hours=hours)
    return f"from={first:%Y-%m-%dT%H:%M:%SZ}&to={last:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
async def owner_database(settings: VigieSettings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database.url)
    yield connection
    await connection.close()


@pytest.fixture
async def street(tenant: Tenant, site_id: str, owner_database: asyncpg.Connection) -> str:
    """A site with two boxes that measured for a day, with a gap, a spike, a firing alert and events."""
    for box in ("north", "south"):
        await _post(tenant.client, "/v1/boxes", {"id": box, "site_id": site_id})
    await owner_database.execute(_DAYS)
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = {"site_id": site_id, "name": "Fine dust", "severity": "critical", "condition": condition}
    await _post(tenant.client, "/v1/rules", rule)
    now = datetime.now(UTC)
    samples = [{"time": now.isoformat(), "values": {"pm2_5": 31.5, "laeq": 61.0, "battery": 80}}]
    await _post(tenant.client, "/v1/telemetry", {"box": "north", "samples": samples})
    heard = {"time": (now - timedelta(minutes=30)).isoformat(), "type": "gunshot", "level_db": 92.5}
    heard["candidates"] = [{"class": "gunshot", "confidence": 0.9}]
    answer = await tenant.client.post("/v1/events", json={"box": "north", "events": [heard]})
    assert answer.json()["rejected"] in {0, 1}
    return site_id


async def test_a_site_is_created_found_changed_and_deleted(console: ConsoleClient) -> None:
    refused = await console.send("/console/sites/new", {**SITE, "timezone": "Mars/Base"}, 422)
    assert 'value="Mars/Base"' in refused.text
    assert 'aria-invalid="true"' in refused.text
    assert 'value="43.6"' in refused.text
    made = await console.send("/console/sites/new", SITE)
    assert read_done(made) == "created"
    page = made.headers["location"].partition("?")[0]
    assert "No box here yet" in await console.read(page)
    assert page in await console.read("/console/sites?q=qua")
    assert "No site matches this search" in await console.read("/console/sites?q=nowhere")
    changed = {
        **SITE,
        "name": "Quai de Tounis",
        "address": "Quai de Tounis, Toulouse",
        "retention_days": "30",
    }
    assert read_done(await console.send(f"{page}/edit", changed)) == "saved"
    assert "Quai de Tounis, Toulouse" in await console.read(page)
    assert 'value="30"' in await console.read(f"{page}/edit")
    far = await console.send(f"{page}/edit", {**changed, "latitude": "north"}, 422)
    assert 'value="north"' in far.text
    assert read_done(await console.send(f"{page}/delete")) == "deleted"
    await console.read(page, 404)


async def test_the_page_of_a_site_answers_without_scripts(console: ConsoleClient, street: str) -> None:
    page = await console.read(f"/console/sites/{street}?metric=laeq&range=24h")
    assert "Firing now" in page
    assert "Fine dust" in page
    # Latest values, and a summary of the chosen period.
    assert "31.5\xa0µg/m³" in page
    assert "In this period, and against the period before" in page
    assert "/console/series/download?format=csv&amp;box=" in page
    assert f"/public/sites/{street}?lang=en" in page
    data = json.loads(page.split('id="explorer-data">')[1].split("</script>")[0])
    assert data["state"]["metrics"] == ["laeq"]
    assert {each["id"] for each in data["boxes"]} == {"north", "south"}


async def test_a_site_with_boxes_is_not_deleted(console: ConsoleClient, street: str) -> None:
    refused = await console.send(f"/console/sites/{street}/delete", status=409)
    # Save must not delete, though the page has the address of the deletion.
    assert f'action="/console/sites/{street}/edit"' in refused.text
    assert 'role="alert"' in refused.text


async def test_reports_are_passed_through(console: ConsoleClient, street: str) -> None:
    read = await console.http.get(f"/console/sites/{street}/reports/day")
    assert read.status_code == 200
    assert read.headers["content-type"].startswith("text/html")
    assert "unsafe" not in read.headers["content-security-policy"].replace("'unsafe-inline'", "")
    refused = await console.http.get(f"/console/sites/{street}/reports/day?date=2030-01-01")
    assert refused.status_code == 422
    assert "This did not work" in refused.text


async def test_a_chart_gets_samples_or_buckets(console: ConsoleClient, street: str) -> None:  # noqa: ARG001 (its boxes)
    async def read(query: str) -> Any:  # noqa: ANN401 (JSON)
        answer = await console.http.get(f"/console/series/values.json?{query}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    hour = await read(f"box=north&metric=pm2_5&interval=60&width=900&{period(1)}")
    assert (hour["bucket"], hour["bucket_s"]) == (None, 0)
    assert hour["series"][0]["v"][-1] == 31.5
    day = await read(f"box=north&box=south&metric=pm2_5&interval=60&width=300&{period(26)}")
    assert day["bucket"] == "10m"
    assert [each["box"] for each in day["series"]] == ["north", "south"]
    assert len(day["grids"]) == 1
    # The gap is a gap, and the spike is within the band.
    assert None in day["series"][0]["v"]
    assert max(each or 0 for each in day["series"][0]["hi"]) == 800
    many = "&".join(f"metric={each}" for each in ("pm2_5", "laeq", "no2"))
    lines = await read(f"box=north&box=south&{many}&bucket=1h&{period(26)}")
    assert len(lines["series"]) == 6
    assert lines["series"][0]["lo"] == []
    assert (await read(period(1)))["series"] == []


async def test_marks_of_a_chart_are_alerts_events_and_flags(console: ConsoleClient, street: str) -> None:
    query = f"site={street}&box=north&metric=pm2_5&interval=60&{period(26)}"
    answer = await console.http.get(f"/console/series/marks.json?bucket=10m&{query}")
    assert answer.status_code == 200, answer.text
    marks = answer.json()
    assert [(each["severity"], each["to"]) for each in marks["alerts"]] == [("critical", None)]
    assert marks["flags"]
    spike = [each for each in marks["flags"] if each["what"] == 1]
    assert spike
    hour = period(1, end=datetime.now(UTC) - timedelta(hours=6.2))
    raw = await console.http.get(f"/console/series/marks.json?box=north&metric=pm2_5&interval=60&{hour}")
    assert any("spike" in each["what"] or "range" in each["what"] for each in raw.json()["flags"]), raw.text


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("values.json?box=north&metric=pm2_5", 422, "invalid_period"),
        (
            "values.json?box=north&metric=pm2_5&from=2026-11-24T10:00:00Z&to=2026-11-24T09:00:00Z",
            422,
            "invalid_period",
        ),
        ("marks.json?box=north&metric=pm2_5&from=x&to=y", 422, "invalid_period"),
        (
            "values.json?box=gone&metric=pm2_5&from=2026-11-24T10:00:00Z&to=2026-11-24T11:00:00Z",
            404,
            "not_found",
        ),
    ],
)
async def test_a_chart_is_told_what_is_wrong(
    console: ConsoleClient, path: str, status: int, code: str
) -> None:
    answer = await console.http.get(f"/console/series/{path}")
    assert answer.status_code == status
    assert answer.json()["code"] == code


async def test_what_is_seen_can_be_downloaded(console: ConsoleClient, street: str, tenant: Tenant) -> None:
    query = f"box=north&metric=pm2_5&bucket=1h&{period(26)}"
    answer = await console.http.get(f"/console/series/download?format=csv&{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text == (await tenant.client.get(f"/v1/readings/export?{query}")).text
    assert street in answer.text
    parquet = await console.http.get(f"/console/series/download?format=parquet&{query}")
    assert parquet.content.startswith(b"PAR1")
    refused = await console.http.get("/console/series/download?from=x&to=y&metric=pm2_5")
    assert refused.status_code == 422
    assert "This did not work" in refused.text


async def test_a_viewer_sees_no_buttons_and_may_not_act(
    folk: OrganisationPeople, console: ConsoleClient, street: str
) -> None:
    viewer = await folk.join("Vera", "viewer")
    console.http.cookies.set("vigie_session", viewer.token, domain="vigie.test")
    page = await console.read(f"/console/sites/{street}")
    for text in ("Add a box", "Add a rule", f"/console/sites/{street}/edit"):
        assert text not in page
    assert "New site" not in await console.read("/console/sites")
    refused = await console.send("/console/sites/new", SITE, 403)
    assert "You may not do this" in refused.text or 'role="alert"' in refused.text
    assert (await console.send(f"/console/sites/{street}/edit", SITE, 403)).status_code == 403


async def test_sites_of_another_organisation_do_not_exist(
    console: ConsoleClient, other_tenant: Tenant
) -> None:
    site = {"name": "Theirs", "kind": "street", "timezone": "Europe/Paris"}
    site |= {"location": {"type": "Point", "coordinates": [1.4, 43.6]}}  # type: ignore[dict-item]
    theirs = (await _post(other_tenant.client, "/v1/sites", site))["id"]
    await _post(other_tenant.client, "/v1/boxes", {"id": "their-box", "site_id": theirs})
    for path in (
        f"sites/{theirs}",
        f"sites/{theirs}/edit",
        "boxes/their-box",
        "boxes/their-box/configuration",
    ):
        assert "Theirs" not in await console.read(f"/console/{path}", 404)
    for path in ("values", "marks"):
        query = f"box=their-box&metric=pm2_5&{period(1)}"
        assert (await console.http.get(f"/console/series/{path}.json?{query}")).status_code == 404
    assert (await console.http.get(f"/console/sites/{theirs}/reports/day")).status_code == 404
    assert "Theirs" not in await console.read("/console/sites")


async def test_names_are_never_markup(console: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": HOSTILE, "address": HOSTILE})
    await _post(
        tenant.client, "/v1/boxes", {"id": "evil", "site_id": site_id, "name": HOSTILE, "tags": ["a"]}
    )
    samples = [{"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 3}}]
    await _post(tenant.client, "/v1/telemetry", {"box": "evil", "samples": samples})
    for path in ("sites", f"sites/{site_id}", f"sites/{site_id}/edit", "boxes/evil", "boxes/evil/edit"):
        page = await console.read(f"/console/{path}")
        assert "<img src=x" not in page
        assert "<script>alert" not in page
        assert "&lt;img src=x" in page


async def seen(page: Page, expression: str) -> None:
    """Wait until something is so; Playwright's own way to wait needs `eval`, which the page forbids."""
    await until(lambda: page.evaluate(expression))


async def _zoom_by_hand(page: Page) -> None:
    box = await page.locator(".u-over").first.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=4)
    await page.mouse.up()


async def test_a_year_is_explored_by_hand_and_by_keyboard(
    open_page: OpenPage,
    tenant: Tenant,
    owner_person: SignedInPerson,
    street: str,
    owner_database: asyncpg.Connection,
) -> None:
    await owner_database.execute(_YEAR)
    # The picker offers what the box's state knows, and only the product's own writer keeps that state.
    latest = {"time": datetime.now(UTC).isoformat(), "values": {"temperature": 15, "humidity": 60, "no2": 20}}
    await _post(tenant.client, "/v1/telemetry", {"box": "north", "samples": [latest]})
    signed_in = await open_page(owner_person)
    page = signed_in.page
    year = period(8_760)
    await signed_in.visit(f"/console/sites/{street}?metric=pm2_5&box=north&bucket=1h&{year}")
    await page.wait_for_selector("[data-draw-ms]")
    assert await page.locator(".u-over").count() == 1
    assert await signed_in.grave() == []
    # Two units have an axis each, three a chart each.
    await page.locator("label.pick", has_text="LAeq").click()
    await seen(page, "document.querySelectorAll('.u-axis').length === 3")
    await page.locator("label.pick", has_text="Temperature").click()
    await seen(page, "document.querySelectorAll('.u-over').length === 3")
    assert "metric=temperature" in page.url
    # Drag to zoom: the address follows, and the data become finer. Back is the whole year again.
    before = page.url
    await _zoom_by_hand(page)
    await seen(page, f"location.href !== {json.dumps(before)}")
    await page.wait_for_selector("[data-charts][aria-busy=false]")
    await page.locator(".u-over").first.dblclick()
    await seen(page, f"location.href === {json.dumps(before)}")
    # The keyboard moves along the values, and a screen reader hears them.
    await page.locator(".chart").first.focus()
    await page.keyboard.press("ArrowRight")
    await seen(page, "document.querySelector('[data-announce]').textContent.includes('PM2.5')")
    await page.locator("#values-table summary").click()
    await seen(page, "document.querySelectorAll('#values-table tbody tr').length === 300")
    # The period before, dashed, and the week by a button.
    await page.locator("[data-range='7d']").click()
    await page.locator("input[name=compare]").check()
    await seen(page, "document.querySelector('.u-legend')?.textContent.includes('period before')")
    assert "compare=previous" in page.url
    await page.reload()
    await seen(page, "document.querySelector('.u-legend')?.textContent.includes('period before')")


async def test_marks_are_listed_in_both_languages_on_a_phone(
    open_page: OpenPage, owner_person: SignedInPerson, street: str
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": "fr"})).raise_for_status()
    for options in (PHONE, {"color_scheme": "dark", "viewport": {"width": 640, "height": 800}}):
        signed_in = await open_page(owner_person, **options)
        await signed_in.visit(f"/console/sites/{street}?metric=pm2_5&box=north")
        await signed_in.page.wait_for_selector("[data-charts][data-marked]")
        marks = await signed_in.page.inner_text("[data-marks]")
        assert "Critique" in marks
        assert "toujours en cours" in marks
        assert "douteuses" in marks
        assert await signed_in.grave() == []
        width = await signed_in.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0


async def test_what_was_typed_does_not_come_back_over_the_change_of_another_person(
    open_page: OpenPage, owner_person: SignedInPerson, street: str
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    path = f"/console/sites/{street}/edit"
    await signed_in.visit(path)
    await page.fill("#f-address", "Quai 4")
    await page.fill("#f-kind", "market")
    change = {"name": "Renamed", "kind": "school"}
    (await owner_person.client.patch(f"/v1/sites/{street}", json=change)).raise_for_status()
    await signed_in.visit(path)
    shown = [await page.input_value(f"#f-{name}") for name in ("address", "name", "kind")]
    assert shown == ["Quai 4", "Renamed", "school"]
    assert await page.is_visible("[data-restored-text]")
    assert await page.inner_text("[data-changed-fields]") == "Kind"
    # It is said once. What was restored comes back.
    await signed_in.visit(path)
    assert await page.input_value("#f-address") == "Quai 4"
    assert not await page.is_visible("[data-changed]")
    await page.click("[data-discard]")
    assert await page.input_value("#f-address") == ""
    await signed_in.visit(path)
    assert not await page.is_visible("[data-restored]")


async def test_what_a_refused_form_has_typed_comes_back_after_a_reload(
    open_page: OpenPage, owner_person: SignedInPerson, street: str
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    path = f"/console/sites/{street}/edit"
    await signed_in.visit(path)
    await page.fill("#f-address", "Quai 4")
    await page.fill("#f-timezone", "Europe/Nowhere")
    async with page.expect_navigation():
        await page.click("#site-form button")
    await page.fill("#f-name", "Market")
    # The browser reports that the form was refused.
    signed_in.told.clear()
    await signed_in.visit(path)
    shown = [await page.input_value(f"#f-{name}") for name in ("address", "name", "timezone")]
    assert shown == ["Quai 4", "Market", "Europe/Nowhere"]
    assert not await page.is_visible("[data-changed]")
    await page.fill("#f-timezone", "Europe/Paris")
    await page.click("#site-form button")
    await page.wait_for_selector(".notice.good")
    await signed_in.visit(path)
    assert not await page.is_visible("[data-restored]")
