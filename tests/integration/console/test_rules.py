"""The console's rules: built, tried and saved by forms; versions, presets, roles, and other tenants."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Route

from app.console.rules import rule_backtests
from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.integration.public_register.browsing import wait_until_true
from tests.integration.rules.backtesting import box, store, working

SCRIPT = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
CONDITION = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"}
ALL = {"all": [{"metric": "pm2_5", "operator": ">", "threshold": 25}, {"not": {"no_data": "PT30M"}}]}
SENTENCE = "Warning when PM2.5 is above 25 µg/m³ for 10 minutes, until at or below 20 µg/m³."
FORM = {
    "mode": "sentence",
    "kind": "value",
    "metric": "pm2_5",
    "operator": ">",
    "threshold_1": "25",
    "clear_1": "20",
    "for_1_n": "10",
    "for_1_unit": "min",
    "severity_1": "warning",
    "where": "all",
    "state": "live",
    "name": "Fine particles",
}
NEW = "/console/rules/new"


def form(site_id: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of a form)
    return {**FORM, "site": site_id, "do": "save", **fields}


async def make(tenant: Tenant, site_id: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    body = {"site_id": site_id, "name": "Fine particles", "severity": "warning", "condition": CONDITION}
    if "levels" in fields:
        del body["severity"], body["condition"]
    answer = await tenant.client.post("/v1/rules", json={**body, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def viewer(application: FastAPI, folk: OrganisationPeople) -> ConsoleClient:
    person = await folk.join("Vera", "viewer")
    transport = httpx.ASGITransport(application)
    cookies = {"vigie_session": person.token}
    return ConsoleClient(
        httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies)
    )


async def test_a_rule_built_from_nothing_fires_by_a_real_sample(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    await box(tenant, site_id, "box-1")
    assert "Begin with a preset" in await console.read("/console/rules")
    made = await console.send(NEW, form(site_id, for_1_n="0", description="Close the windows."))
    assert read_done(made) == "created"
    page = made.headers["location"].partition("?")[0]
    assert "Nothing fires now." in await console.read(page)
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 31.5}}
    sent = await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [sample]})
    assert sent.json()["stored"] == 1, sent.text
    shown = await console.read(page)
    assert "PM2.5 at" in shown
    assert "1 alert in 30 days" in shown
    assert "1 fires" in await console.read("/console/rules")


async def test_a_refused_rule_keeps_what_was_typed(console: ConsoleClient, site_id: str) -> None:
    typed = form(site_id, clear_1="lots", for_1_n="13", name=SCRIPT, where="some", tags="school, x")
    refused = await console.send(NEW, typed, 422)
    text = refused.text
    assert re.search(r'data-fault="clear_1">[^<]*is not a number', text)
    assert 'value="lots"' in text
    assert 'value="13"' in text
    assert 'value="school, x"' in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    missing = await console.send(NEW, form("", metric="", name=""), 422)
    for name in ("metric", "name", "site"):
        assert re.search(rf'data-fault="{name}">[^<]+<', missing.text), name


async def test_the_check_says_it_in_words_or_at_which_field_it_is_wrong(
    console: ConsoleClient, site_id: str
) -> None:
    good = await console.send("/console/rules/check", form(site_id), 200)
    assert good.json() == {"sentence": SENTENCE, "faults": {}, "others": [], "missing": ""}
    nameless = await console.send("/console/rules/check", form(site_id, name=""), 200)
    assert nameless.json()["sentence"] == SENTENCE
    begun = await console.send("/console/rules/check", form("", threshold_1=""), 200)
    assert begun.json()["missing"] == "Still missing: Site, Threshold."
    bad = (await console.send("/console/rules/check", form(site_id, clear_1="30"), 200)).json()
    assert list(bad["faults"]) == ["clear_1"]
    json_mode = {"mode": "json", "json": "{", "do": "check"}
    assert "json" in (await console.send("/console/rules/check", json_mode, 200)).json()["faults"]
    assert SENTENCE in (await console.send(NEW, form(site_id, do="check"), 200)).text


async def test_every_kind_of_condition_can_be_built(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    common = {"where": "all", "severity_1": "warning", "for_1_n": "0", "for_1_unit": "min"}
    kinds: dict[str, dict[str, str]] = {
        "range": {
            "metric": "temperature",
            "side": "outside",
            "low_1": "14",
            "high_1": "20.5",
            "margin_1": "1",
        },
        "window": {
            "metric": "no2",
            "operator": ">",
            "threshold_1": "200",
            "function": "percentile",
            "percentile": "95",
            "window_n": "1",
            "window_unit": "h",
            "coverage": "75",
        },
        "silence": {"no_data_1_n": "15", "no_data_1_unit": "min", "silence_metric": "pm2_5"},
        "event": {
            "event": "gunshot",
            "confidence": "70",
            "count": "2",
            "window_n": "1",
            "window_unit": "min",
        },
        "band": {"index": "eaqi", "band_1": "poor", "severity_2": "critical", "band_2": "very_poor"},
        "index": {"index": "lden-day", "operator": ">", "attribute_1": "lden_limit", "threshold_1": "68"},
    }
    for kind, fields in kinds.items():
        await console.send(
            NEW, {"site": site_id, "do": "save", "name": kind, "kind": kind, **common, **fields}
        )
    rules = {each["name"]: each for each in (await tenant.client.get("/v1/rules")).json()["data"]}
    assert rules["range"]["condition"]["high"] == 20.5
    assert rules["window"]["condition"]["percentile"] == 95
    assert rules["silence"]["condition"]["no_data"] == "PT15M"
    assert rules["event"]["condition"]["confidence"] == 0.7
    assert [level["severity"] for level in rules["band"]["levels"]] == ["warning", "critical"]
    assert rules["index"]["condition"]["threshold"] == {"attribute": "lden_limit", "default": 68}
    for rule in rules.values():
        # Saved again as it is shown, it is the same rule: no version is made.
        page = await console.read(f"/console/rules/{rule['id']}/edit")
        assert 'name="mode" value="sentence"' in page, rule["name"]


async def test_what_the_sentence_cannot_express_is_json_without_loss(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant, site_id, condition=ALL)
    edit = f"/console/rules/{made['id']}/edit"
    page = await console.read(edit)
    assert 'name="mode" value="json"' in page
    typed = {"mode": "json", "json": json.dumps(made_body(made, name="Other")), "do": "save"}
    stays = await console.send(edit, {**typed, "do": "sentence"}, 200)
    assert "the sentence cannot express" in stays.text
    assert read_done(await console.send(edit, typed)) == "saved"
    present = (await tenant.client.get(f"/v1/rules/{made['id']}")).json()
    assert (present["name"], present["condition"]) == ("Other", made["condition"])
    refused = await console.send(edit, {**typed, "json": '{"condition": {"any": [5]}, "odd": 1}'}, 422)
    assert "condition.any.0" in refused.text
    assert "odd" in refused.text
    for text in ("[]", "{", '{"a": NaN}', '{"a": "\\ud800"}', ""):
        assert "data-focus" in (await console.send(NEW, {**typed, "json": text}, 422)).text
    # There and back again.
    as_json = await console.send(NEW, form(site_id, do="json"), 200)
    shown = json.loads(unescape(as_json.text))
    assert shown["condition"] == CONDITION
    back = await console.send(NEW, {"mode": "json", "json": json.dumps(shown), "do": "sentence"}, 200)
    assert 'name="mode" value="sentence"' in back.text


def made_body(made: dict[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    names = ("site_id", "name", "severity", "condition", "max_age", "enabled", "dry_run")
    return {name: made[name] for name in names} | changes


def unescape(page: str) -> str:
    found = re.search(r"<textarea[^>]*name=\"json\"[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert found is not None
    return found[1].replace("&#34;", '"').replace("&gt;", ">")


async def test_a_change_sends_only_what_differs_and_sees_changes_of_others(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    daily = {"metric": "pm2_5", "operator": ">", "threshold": 15, "function": "mean", "window": "P1D"}
    made = await make(tenant, site_id, condition=daily)
    edit = f"/console/rules/{made['id']}/edit"
    page = await console.read(edit)
    etag = re.search(r'name="etag" value="&#34;([^"]+)&#34;"', page)
    assert etag is not None
    typed = form(
        site_id, kind="window", function="mean", window_n="24", window_unit="h", threshold_1="15", clear_1=""
    )
    typed |= {"for_1_n": "", "name": "Daily mean", "etag": f'"{etag[1]}"'}
    await console.send(edit, typed)
    present = (await tenant.client.get(f"/v1/rules/{made['id']}")).json()
    # The notation of the window stayed: the condition did not restart.
    assert (present["name"], present["condition"]) == ("Daily mean", made["condition"])
    refused = await console.send(edit, {**typed, "name": "Mine"}, 412)
    assert "Somebody else changed this meanwhile." in refused.text
    assert 'value="Mine"' in refused.text
    fresh = re.search(r'name="etag" value="&#34;([^"]+)&#34;"', refused.text)
    assert fresh is not None
    await console.send(edit, {**typed, "name": "Mine", "etag": f'"{fresh[1]}"'})


async def test_a_back_test_before_saving_is_drawn_box_by_box(  # noqa: PLR0917 (fixtures)
    console: ConsoleClient,
    tenant: Tenant,
    site_id: str,
    owner: asyncpg.Connection,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await box(tenant, site_id, "loud")
    (await tenant.client.patch("/v1/boxes/loud", json={"name": SCRIPT})).raise_for_status()
    await box(tenant, site_id, "calm")
    start = datetime.now(UTC) - timedelta(hours=5)
    await store(owner, "loud", [10, *[30] * 60, *[10] * 60, *[40] * 30, 10], start=start)
    await store(owner, "calm", [10] * 100, start=start)
    queued = await console.send(NEW, form(site_id, do="try", days="7"), 200)
    running = re.search(r'data-backtest="(/console/rules/backtests/[0-9a-f-]+)"', queued.text)
    assert running is not None
    # For people a page waits two seconds: the longest wait ends as soon as the result is there.
    monkeypatch.setattr(rule_backtests, "_WAIT_S", 30)
    async with working(database):
        tried = await console.send(NEW, form(site_id, do="try", days="7"), 200)
        assert "Would have fired 2 times" in tried.text
        assert "1 box would have stayed quiet." in tried.text
        assert len(re.findall(r'<rect class="mark warning"', tried.text)) == 2
        assert "<script>alert" not in tried.text
        assert 'value="Fine particles"' in tried.text
        assert "Would have fired 2 times" in await console.read(running[1])
        # Some hours of a month prove nothing; and a rule is tried before it has a name.
        quiet = await console.send(NEW, form(site_id, do="try", threshold_1="90", name=""), 200)
        assert "Not enough values to tell" in quiet.text
        assert "Would not have fired" not in quiet.text
        assert "of these 30 days have values." in quiet.text
        assert "2 boxes have values." in quiet.text
        assert (
            "PM2.5 was between 10.0\xa0µg/m³ and 40.0\xa0µg/m³; the threshold is 90\xa0µg/m³." in quiet.text
        )
        made = await make(tenant, site_id)
        page = f"/console/rules/{made['id']}"
        sent = await console.send(f"{page}/try", {"days": "7"})
        assert sent.headers["location"].endswith("#backtest")
        assert "Would have fired 2 times" in await console.read(sent.headers["location"].partition("#")[0])
    assert (await tenant.client.get("/v1/rules")).json()["data"][0]["id"] == made["id"]


async def test_metrics_of_the_site_come_first_and_are_found_by_their_code(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    await box(tenant, site_id, "box-1")
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm10": 31.5}}
    body = {"box": "box-1", "samples": [sample]}
    (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()
    page = await console.read(f"{NEW}?site={site_id}")
    here = re.search(r'<optgroup label="Measured at this site">(.*?)</optgroup>', page, re.DOTALL)
    assert here is not None
    assert re.findall(r'<option value="([^"]+)"', here[1]) == ["pm10"]
    assert "PM10 \N{EN DASH} particles up to 10" in here[1]
    assert "<optgroup" not in await console.read(NEW)


async def test_a_rule_says_who_is_notified(console: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id)
    page = f"/console/rules/{made['id']}"
    assert "no recipient takes alerts of this rule" in await console.read(page)
    hook = {"url": "https://example.com/hook", "recipient": SCRIPT, "min_severity": "critical"}
    severe = (await tenant.client.post("/v1/webhooks", json=hook)).raise_for_status().json()["id"]
    assert "no recipient takes alerts of this rule" in await console.read(page)
    (await tenant.client.patch(f"/v1/webhooks/{severe}", json={"min_severity": None})).raise_for_status()
    shown = await console.read(page)
    assert f'href="/console/delivery/{severe}"' in shown
    assert "<script>alert" not in shown
    await console.send(f"{page}/state", {"to": "dry_run"})
    assert "Nobody, until the rule is live." in await console.read(page)


async def test_versions_are_compared_and_restored(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant, site_id)
    page = f"/console/rules/{made['id']}"
    await console.send(f"{page}/edit", form(site_id, threshold_1="40", description="<b>Look</b>"))
    shown = await console.read(page)
    assert re.search(r"Threshold</span> <del>.*? 25</del>.*?<ins>.*? 40</ins>", shown)
    assert "&lt;b&gt;Look" in shown
    answer = await console.send(f"{page}/versions/1/restore")
    assert read_done(answer) == "restored"
    present = (await tenant.client.get(f"/v1/rules/{made['id']}")).json()
    assert (present["version"], present["condition"]["threshold"]) == (3, 25)
    await console.send(f"{page}/versions/99/restore", status=404)
    await console.send(f"{page}/versions/x%3F/restore", status=404)


async def test_dry_run_off_and_deletion(console: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id)
    page = f"/console/rules/{made['id']}"
    for to, expected in (
        ("dry_run", (True, True)),
        ("live", (True, False)),
        ("off", (False, False)),
        ("on", (True, False)),
    ):
        await console.send(f"{page}/state", {"to": to})
        present = (await tenant.client.get(f"/v1/rules/{made['id']}")).json()
        assert (present["enabled"], present["dry_run"]) == expected
    assert "Fine particles" in await console.read("/console/rules?state=live&severity=warning&q=fine")
    assert "No rule matches" in await console.read("/console/rules?state=off")
    assert read_done(await console.send(f"{page}/delete")) == "deleted"
    await console.read(page, 404)


async def test_presets_are_found_adapted_and_applied(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    found = await console.read("/console/rules/presets?q=mites")
    assert "House-dust mites" in found
    assert "WHO guideline" not in found
    assert "No preset matches" in await console.read("/console/rules/presets?q=unicorn")
    page = await console.read(f"/console/rules/presets/night-noise?site={site_id}")
    assert f"preset=night-noise&amp;rule=0&amp;site={site_id}" in page
    adapted = await console.read(f"{NEW}?preset=night-noise&rule=0&site={site_id}")
    assert 'value="45"' in adapted
    assert "unknown preset" not in adapted
    applied = {"site": site_id, "dry_run": "yes", "tags": "school", "name": "Night"}
    made = await console.send("/console/rules/presets/night-noise", applied)
    assert read_done(made) == "created"
    rule = (await tenant.client.get("/v1/rules")).json()["data"][0]
    assert (rule["name"], rule["dry_run"], rule["scope"]) == ("Night", True, {"tags": ["school"]})
    again = await console.send("/console/rules/presets/night-noise", applied, 409)
    assert f"/console/rules/{rule['id']}" in again.text
    assert 'value="Night"' in again.text
    await console.send("/console/rules/presets/night-noise", {**applied, "again": "yes"})
    refused = await console.send("/console/rules/presets/tamper", {"site": "", "tags": "x"}, 422)
    assert re.search(r'class="fault">[^<]+<', refused.text)
    assert 'value="x"' in refused.text
    await console.read(f"{NEW}?preset=unicorn", 404)
    await console.read("/console/rules/presets/unicorn", 404)


async def test_a_viewer_sees_rules_without_buttons(
    viewer: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant, site_id)
    page = f"/console/rules/{made['id']}"
    for path in (page, "/console/rules", "/console/rules/presets/tamper"):
        shown = await viewer.read(path)
        for button in ("New rule", ">Edit<", "Delete", "Restore", "Try it", "Apply", "Disable"):
            assert button not in shown, (path, button)
    for path in (NEW, f"{page}/edit"):
        await viewer.read(path, 403)
    for path, fields in (
        (NEW, form(site_id)),
        (f"{page}/edit", form(site_id, name="x")),
        (f"{page}/state", {"to": "off"}),
        (f"{page}/delete", {}),
        (f"{page}/versions/1/restore", {}),
        (f"{page}/try", {}),
        ("/console/rules/presets/tamper", {"site": site_id}),
    ):
        assert (await viewer.send(path, fields, 403)).status_code == 403
    assert (await tenant.client.get(f"/v1/rules/{made['id']}")).json() == made
    await viewer.http.aclose()


async def test_rules_of_others_do_not_exist(
    console: ConsoleClient, other_tenant: Tenant, site_id: str
) -> None:
    theirs = (
        await other_tenant.client.post(
            "/v1/sites",
            json={
                "name": "Theirs",
                "kind": "street",
                "timezone": "UTC",
                "location": {"type": "Point", "coordinates": [0, 0]},
            },
        )
    ).json()["id"]
    rule = await make(other_tenant, theirs)
    for page in (f"/console/rules/{rule['id']}", f"/console/rules/{uuid4()}", "/console/rules/%22x"):
        await console.read(page, 404)
        await console.read(f"{page}/edit", 404)
        await console.send(f"{page}/delete", status=404)
        await console.send(f"{page}/state", {"to": "off"}, status=404)
        await console.send(f"{page}/try", status=404)
    await console.read(f"/console/rules/backtests/{uuid4()}", 404)
    await console.read(f"{NEW}?copy={rule['id']}", 404)
    refused = await console.send(NEW, form(theirs), 404)
    assert 'value="Fine particles"' in refused.text
    assert "Theirs" not in await console.read(f"{NEW}?site={theirs}")
    assert (await other_tenant.client.get(f"/v1/rules/{rule['id']}")).json() == rule
    assert site_id not in (await console.read("/console/rules?site=" + theirs)).partition("rule-list")[2]


LABELS = {
    "en": ("Warning when PM2.5", "Would have fired 1 time", "Ends at"),
    "fr": ("Avertissement", "Se serait déclenchée 1 fois", "Fin de l\u2019alerte à"),
}


@pytest.mark.parametrize(("language", "options"), [("en", {}), ("fr", {**PHONE, "color_scheme": "dark"})])
async def test_build_try_and_save_in_a_browser(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    anybody: httpx.AsyncClient,
    tenant: Tenant,
    site_id: str,
    owner: asyncpg.Connection,
    database: Database,
    language: str,
    options: dict[str, Any],
) -> None:
    words, fired, label = LABELS[language]
    key = {"Authorization": f"Bearer {owner_person.token}"}
    (await anybody.patch("/v1/me", json={"locale": language}, headers=key)).raise_for_status()
    await box(tenant, site_id, "loud")
    await store(owner, "loud", [10, *[30] * 60, 10], start=datetime.now(UTC) - timedelta(hours=3))
    async with working(database):
        signed_in = await open_page(owner_person, **options)
        page = signed_in.page
        await signed_in.visit(NEW)
        await page.select_option("#c-site", site_id)
        await page.wait_for_selector('.some-boxes input[value="loud"]', state="attached")
        await page.select_option("#value-metric", "pm2_5")
        assert await page.inner_text("[data-kind=value] [data-unit].unit >> nth=0") == "µg/m³"
        await page.get_by_label(label, exact=True).first.fill("30")
        await page.fill("#value-threshold_1", "25")
        await page.fill("#c-name", "Fine particles")
        # While typing: the fault at its field, then the rule in words.
        await page.wait_for_selector("#value-clear_1[aria-invalid=true]")
        await page.fill("#value-clear_1", "20")
        await wait_until_true(
            page, "text => document.querySelector('[data-sentence]').textContent.includes(text)", words
        )
        assert not await page.is_visible("#value-clear_1-fault")
        # Another kind and back: what was typed is there again.
        await page.check("input[name=kind][value=band]", force=True)
        await page.select_option("#band-index", "eaqi")
        await page.wait_for_selector('#band-band_1 option[value="poor"]', state="attached")
        await page.check("input[name=kind][value=value]", force=True)
        assert await page.input_value("#value-threshold_1") == "25"
        await page.click("[data-try]")
        await page.wait_for_selector("#backtest .figure-line")
        assert fired in (await page.inner_text("#backtest .figure-line")).replace("\u00a0", " ")
        await page.evaluate("scrollTo(0, 0)")
        assert await signed_in.grave() == []
        await page.click("button[value=save]")
        await page.wait_for_selector(".notice.good")
        assert words in await page.inner_text(".rule-sentence")
        assert await signed_in.grave() == []
        await signed_in.visit("/console/rules")
        assert await signed_in.grave() == []


async def test_a_late_answer_keeps_what_was_typed_under_another_kind(
    open_page: OpenPage, owner_person: SignedInPerson, site_id: str
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit(f"{NEW}?site={site_id}")
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if "do=show" in (route.request.post_data or "") and not asked.is_set():
            asked.set()
            await goes_on.wait()
        await route.fallback()

    await page.route("**/console/rules/*", hold)
    await page.check("input[name=kind][value=band]", force=True)
    await page.select_option("#band-index", "eaqi")
    async with asyncio.timeout(60):
        await asked.wait()
    await page.check("input[name=kind][value=value]", force=True)
    # A choice that overtakes the first one.
    await page.evaluate("document.querySelector('#value-threshold_1').dataset.replaced = ''")
    await page.select_option("#c-site", site_id)
    await page.wait_for_selector("[data-replaced]", state="detached")
    await page.fill("#value-threshold_1", "26")
    goes_on.set()
    await page.wait_for_selector('#band-band_1 option[value="poor"]', state="attached")
    assert await page.input_value("#value-threshold_1") == "26"


async def test_the_builder_works_without_scripts(
    open_page: OpenPage, owner_person: SignedInPerson, site_id: str, tenant: Tenant
) -> None:
    signed_in = await open_page(owner_person, java_script_enabled=False)
    page = signed_in.page
    await signed_in.visit(f"{NEW}?site={site_id}")
    await page.check("input[name=kind][value=silence]", force=True)
    await page.click("button[value=show]")
    await page.fill("#c-name", "Silent")
    await page.fill("#silence-no_data_1", "20")
    await page.click("button[value=save]")
    assert "no data comes for 20 minutes" in await page.inner_text(".rule-sentence")
    rule = (await tenant.client.get("/v1/rules")).json()["data"][0]
    assert rule["condition"]["no_data"] == "PT20M"
