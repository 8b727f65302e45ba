"""Reports by REST: they say what the API's own indices and series say, to whom may know it, and no more."""

import asyncio
import csv
import io
import sys
from datetime import date, datetime
from typing import Any
from xml.etree.ElementTree import Element

import httpx
import pypdf
import pytest
from fastapi import FastAPI
from starlette.types import Message
from weasyprint.urls import FatalURLFetchingError

from app.catalogue.metric_display_names import get_metric_symbol
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.presentation.local_formatter import LocalFormatter
from app.reports.process_pool import ReportProcessPool
from app.reports.render.pdf_writer import render_pdf
from app.reports.render.report_page import RenderedReport
from app.rules.presets.preset_list import PRESETS
from tests.conftest import Tenant, client_of
from tests.integration.environmental_indices.town import PARIS, Record, ask, measure
from tests.unit.reports.sheet import parsed, sections, tables, text
from tests.unit.reports.test_places import Client, children, until

# The clocks go forward in the night to the 29th: it has 23 hours.
DAY = date(2026, 3, 29)
# The last periods that were over then are those of that day.
AT = "2026-03-30T05:10:00Z"
LOUD = Record.of(
    "2026-03-27T22:00", "2026-03-30T06:00", 600, 1, pm2_5=(4, 40), no2=(5, 80), o3=(30, 130), laeq=(45, 75)
)
QUIET = Record.of("2026-03-27T22:00", "2026-03-30T06:00", 600, 2, pm2_5=(1, 3), laeq=(30, 40)).without(
    "2026-03-29T04:00", "2026-03-29T14:00"
)
RULE = {
    "name": "Dust <i>now</i>",
    "severity": "critical",
    "condition": {"metric": "pm2_5", "operator": ">", "threshold": 39, "clear": 38},
}
ENGLISH, FRENCH = LocalFormatter("en", PARIS), LocalFormatter("fr", PARIS)


@pytest.fixture
async def street(tenant: Tenant, site_id: str) -> str:
    """A street with a loud box, a quiet one that was away on Sunday, and a rule."""
    (await tenant.client.post("/v1/rules", json={**RULE, "site_id": site_id})).raise_for_status()
    await measure(tenant, site_id, "loud", LOUD)
    await measure(tenant, site_id, "quiet", QUIET)
    return site_id


async def report(
    client: httpx.AsyncClient,
    site: str,
    length: str = "day",
    preferring: tuple[str, str] = ("*/*", "*"),
    /,
    **params: str,
) -> httpx.Response:
    headers = dict(zip(("accept", "accept-language"), preferring, strict=True))
    answer = await client.get(f"/v1/sites/{site}/reports/{length}", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def page(client: httpx.AsyncClient, site: str, length: str = "day", /, **params: str) -> Element:
    return parsed((await report(client, site, length, **params)).text)


def pdf_text(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/pdf"
    pages = pypdf.PdfReader(io.BytesIO(answer.content)).pages
    return " ".join(" ".join(each.extract_text() for each in pages).split())


async def test_a_day_says_what_indices_and_series_say(tenant: Tenant, street: str) -> None:
    root = await page(tenant.client, street, date=str(DAY))
    rows = {row["Figure"]: row for row in tables(sections(root)["indices"])["Indices and guidelines"]}
    answer = await ask(tenant.client, street, at=AT)
    named = {(each["method"], each["metric"]): each for each in answer["data"] if each["box"] == "loud"}
    shown = {
        "WHO guideline, 24 hours, PM2.5": named["who-24h", "pm2_5"],
        "WHO guideline, 24 hours, NO₂": named["who-24h", "no2"],
        "WHO guideline, ozone over 8 hours": named["who-o3-8h", None],
        "Day-evening-night level of one day": named["lden-day", None],
        "French air quality index (daily)": named["atmo", None],
    }
    for title, value in shown.items():
        row = rows[title]
        # Text joins the lines of a cell, and has plain spaces.
        assert row["Worst value"] == plain(ENGLISH.measured(value["value"], value["unit"])), title
        assert row["Where"].startswith("loud")
        if value["band"]:
            assert row["Class"] == value["band"]["label"]
        if value["limit"]:
            assert row["Compared with"].startswith(plain(ENGLISH.limit(value["limit"], value["unit"])))
            assert ("exceeded" in row["Compared with"]) == value["exceeded"]
    # Away for ten hours of daylight, the quiet box has no level of that day.
    assert "1 of 2 boxes without a value" in rows["Day-evening-night level of one day"]["Measured"]
    # The levels of the day's parts.
    parts = {each["key"]: each["value"] for each in named["lden-day", None]["components"]}
    levels = tables(sections(root)["noise"])["Levels of the parts of the day, dB"]
    assert [row["Box"] for row in levels] == ["loud"]
    for key, head in (("lday", "Day"), ("levening", "Evening"), ("lnight", "Night"), ("leq", "Mean level")):
        assert levels[0][head] == ENGLISH.value(parts[key], "dB")
    # Hour by hour: each hour's worst class is in the strip, of 23 hours.
    history = await ask(
        tenant.client,
        street,
        "/history",
        method="eaqi",
        box="loud",
        **{"from": "2026-03-28T23:00:00Z", "to": "2026-03-29T22:00:00Z"},
    )
    strip = tables(sections(root)["short"])["Whole site (worst)"]
    assert [row["Class"] for row in strip] == [each["band"]["label"] for each in history["data"]]
    assert len(strip) == 23


def plain(shown: str) -> str:
    return " ".join(shown.split())


async def test_charts_and_tables_have_the_numbers_of_series(tenant: Tenant, street: str) -> None:
    root = await page(tenant.client, street, date=str(DAY))
    span = {"from": "2026-03-28T23:00:00Z", "to": "2026-03-29T22:00:00Z"}
    series = await tenant.client.get(
        "/v1/boxes/loud/readings", params={"metric": "pm2_5", "bucket": "1h", "aggregates": "avg", **span}
    )
    chart = tables(sections(root)["air"])["PM2.5, hourly means (µg/m³)"]
    assert [row["loud"] for row in chart] == [
        ENGLISH.value(each["avg"], "µg/m³") for each in series.json()["points"]
    ]
    assert [row["Hour"] for row in chart][:4] == ["00:00", "01:00", "03:00", "04:00"]
    for box in ("loud", "quiet"):
        compared = await tenant.client.get(
            "/v1/readings/comparison",
            params=[("box", box), ("metric", "pm2_5"), ("metric", "laeq"), *span.items()],
        )
        rows = {row["Quantity"]: row for row in tables(sections(root)["boxes"])[box]}
        for each in compared.json()["data"]:
            row, now = rows[get_metric_symbol(each["metric"], "en")], each["period"]
            for head, key in (("Mean", "avg"), ("Lowest", "min"), ("Highest", "max")):
                assert row[head] == plain(ENGLISH.measured(now[key], each["unit"])), (box, head)
            assert row["Measured"] == ENGLISH.percent(now["coverage"])


async def test_a_month_says_it_by_day(tenant: Tenant, street: str) -> None:
    root = await page(tenant.client, street, "month", month="2026-03", language="fr")
    assert root.get("lang") == "fr"
    strip = tables(sections(root)["short"])["Site entier (pire)"]
    assert len(strip) == 31
    there = [row["Classe"] for row in strip if row["Classe"] != "Pas de valeur"]
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-04-01T00:00:00Z"}
    history = await ask(tenant.client, street, "/history", method="atmo", **span)
    worst: dict[str, Any] = {}
    for each in history["data"]:
        at = each["period"]["start"]
        if each["value"] is not None and (at not in worst or each["value"] > worst[at]["value"]):
            worst[at] = each
    assert there == [worst[at]["band"]["label_fr"] for at in sorted(worst)]
    over = await ask(tenant.client, street, "/history", method="who-24h", **span)
    dust: dict[str, list[bool]] = {each["period"]["start"]: [] for each in over["data"]}
    for each in over["data"]:
        if each["metric"] == "pm2_5" and each["value"] is not None:
            dust[each["period"]["start"]].append(each["exceeded"])
    said = f"Jours au-dessus : {sum(map(any, dust.values()))} sur {sum(map(bool, dust.values()))}"
    rows = tables(sections(root)["indices"])["Indices et valeurs de référence"]
    assert any(row["Grandeur"] == f"Ligne directrice OMS, 24 heures, PM2,5 {said}" for row in rows)
    # Two days and a bit of 31: no mean of the month.
    leq = next(row for row in rows if row["Grandeur"] == "Niveau sonore équivalent")
    assert leq["Pire valeur"] == "\u2013 Une trop petite part de la période a été mesurée"


async def test_a_pdf_says_the_same_tagged_and_in_its_language(tenant: Tenant, street: str) -> None:
    answer = await report(tenant.client, street, format="pdf", language="fr", date=str(DAY))
    assert answer.content.startswith(b"%PDF-")
    reader = pypdf.PdfReader(io.BytesIO(answer.content))
    catalogue: Any = reader.trailer["/Root"]
    assert catalogue["/Lang"] == "fr"
    assert catalogue["/MarkInfo"]["/Marked"]
    assert catalogue["/StructTreeRoot"]
    assert b"pdfuaid:part" in catalogue["/Metadata"].get_data()
    assert reader.metadata is not None
    assert (
        reader.metadata.title
        == "Rapport journalier \u2013 Rue d'Alsace-Lorraine \u2013 dimanche 29 mars 2026"
    )
    assert [round(float(each)) for each in reader.pages[0].mediabox[2:]] == [595, 842]
    said = pdf_text(answer)
    assert f"1 / {len(reader.pages)}" in said
    root = await page(tenant.client, street, language="fr", date=str(DAY))
    for finding in root.findall(".//section[@class='short']/ul/li"):
        assert text(finding) in said
    for row in tables(sections(root)["indices"])["Indices et valeurs de référence"]:
        assert row["Pire valeur"] in said


async def test_alerts_are_told_to_whom_may_read_them(
    application: FastAPI, tenant: Tenant, street: str
) -> None:
    listed = await tenant.client.get(
        "/v1/alerts",
        params={"site": street, "from": "2026-03-28T23:00:00Z", "to": "2026-03-29T22:00:00Z", "limit": 200},
    )
    count = len(listed.json()["data"])
    assert count
    root = await page(tenant.client, street, date=str(DAY))
    counts = tables(sections(root)["alerts"])["Alerts that began, by severity"]
    assert {row["Severity"]: row["Count"] for row in counts} == {
        "Critical": str(count),
        "Warning": "0",
        "Information": "0",
        "Total": str(count),
    }
    longest = tables(sections(root)["alerts"])["Longest alerts"]
    assert longest[0]["Rule"] == "Dust <i>now</i>"
    assert "None was acknowledged." in text(sections(root)["alerts"])
    # Those of the day before are counted as such.
    before = await tenant.client.get(
        "/v1/alerts",
        params={"site": street, "from": "2026-03-27T23:00:00Z", "to": "2026-03-28T23:00:00Z", "limit": 200},
    )
    assert f"In the period before: {len(before.json()['data'])}." in text(sections(root)["alerts"])
    body = {"name": "reader", "scopes": ["telemetry:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, key) as reader:
        blind = await page(reader, street, date=str(DAY))
    assert "the requester of this report may not read alerts" in text(sections(blind)["alerts"])
    assert "Dust" not in text(blind)


async def test_rules_of_presets_are_named_in_the_readers_language(tenant: Tenant, site_id: str) -> None:
    preset = PRESETS["who-pm2-5-24h"]
    applied = await tenant.client.post(f"/v1/rule-presets/{preset.id}/apply", json={"site_id": site_id})
    applied.raise_for_status()
    own = {**RULE, "site_id": site_id, "name": "Our own name"}
    (await tenant.client.post("/v1/rules", json=own)).raise_for_status()
    await measure(tenant, site_id, "loud", LOUD)
    captions = {
        "en": ("Longest alerts", "Rule"),
        "fr": ("Celles qui ont duré le plus longtemps", "Règle"),
    }
    for language, (caption, column) in captions.items():
        root = await page(tenant.client, site_id, language=language, date="2026-03-28")
        names = {row[column] for row in tables(sections(root)["alerts"])[caption]}
        expected = preset.rules[0].name.fr if language == "fr" else preset.rules[0].name.en
        assert names == {expected, "Our own name"}, language


async def test_form_and_language_are_negotiated(tenant: Tenant, street: str) -> None:
    asked = {"date": str(DAY), "box": "quiet"}
    plain_ = await report(tenant.client, street, **asked)
    assert plain_.headers["content-type"] == "text/html; charset=utf-8"
    assert plain_.headers["content-language"] == "en"
    assert plain_.headers["vary"] == "Accept, Accept-Language"
    assert plain_.headers["cache-control"] == "no-store"
    assert plain_.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    name = 'inline; filename="vigie-rue-d-alsace-lorraine-2026-03-29-en.html"'
    assert plain_.headers["content-disposition"] == name
    french = ("text/html;q=0.5, application/pdf", "de, fr-CA;q=0.8, en;q=0.5")
    answer = await report(tenant.client, street, "day", french, **asked)
    assert (answer.headers["content-type"], answer.headers["content-language"]) == ("application/pdf", "fr")
    # What is said in the query holds.
    answer = await report(tenant.client, street, "day", french, format="html", language="en", **asked)
    assert answer.headers["content-language"] == "en"
    assert parsed(answer.text).get("lang") == "en"
    assert list(tables(sections(parsed(answer.text))["boxes"])) == ["quiet"]


async def test_who_may_not_see_a_site_gets_no_report(
    tenant: Tenant, other_tenant: Tenant, street: str
) -> None:
    for length in ("day", "month"):
        answer = await other_tenant.client.get(f"/v1/sites/{street}/reports/{length}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    for query, code in (
        ({"date": "2100-01-01"}, "period_not_over"),
        ({"date": "9999-12-31"}, "period_not_over"),
        ({"date": "1999-12-31"}, "time_out_of_range"),
        ({"date": "2026-02-30"}, "wrong_type"),
        ({"month": "2026-03"}, "unknown_parameter"),
        ({"language": "de"}, "invalid_value"),
        ({"box": "nobody"}, "not_found"),
    ):
        answer = await tenant.client.get(f"/v1/sites/{street}/reports/day", params=query)
        assert answer.json()["code"] == code, query
    for month, code in (
        ("2100-01", "period_not_over"),
        ("1999-12", "time_out_of_range"),
        ("2026-13", "invalid_value"),
    ):
        answer = await tenant.client.get(f"/v1/sites/{street}/reports/month", params={"month": month})
        assert answer.json()["code"] == code, month


async def test_hostile_names_are_text_in_a_pdf_too(tenant: Tenant, street: str) -> None:
    name = "<img src='file:///etc/passwd'><script>url(file:///etc/passwd)</script>"
    (await tenant.client.patch(f"/v1/sites/{street}", json={"name": name})).raise_for_status()
    (await tenant.client.patch("/v1/boxes/loud", json={"name": "{{ 1 }}<b>"})).raise_for_status()
    said = pdf_text(await report(tenant.client, street, format="pdf", date=str(DAY)))
    assert "<img src='file:///etc/passwd'>" in said
    assert "{{ 1 }}<b>" in said
    assert "root:" not in said


@pytest.mark.parametrize(
    "part",
    [
        "<img src='file:///etc/passwd'>",
        "<link rel=stylesheet href='http://127.0.0.1:1/a.css'>",
        "<img src='data:image/png;base64,AA=='>",
    ],
)
def test_a_pdf_fetches_nothing(part: str) -> None:
    with pytest.raises(FatalURLFetchingError):
        render_pdf(
            RenderedReport(f"<!doctype html><html lang=en><title>x</title><body>{part}</body></html>", "x")
        )


CONFINED = """
import socket, subprocess, sys
from app.reports.report_process import SandboxViolationError, confine_process
confine_process(memory=600_000_000)
refused = []
for name, act in {
    "socket": lambda: socket.create_connection(("127.0.0.1", 1)),
    "names": lambda: socket.getaddrinfo("localhost", 1),
    "program": lambda: subprocess.run(["/bin/true"]),
    "file": lambda: open("written", "w"),
    "memory": lambda: bytearray(2_000_000_000),
}.items():
    try:
        act()
    except (SandboxViolationError, OSError, MemoryError) as error:
        refused.append(f"{name} {type(error).__name__}")
print(*refused, sep=";")
"""


async def test_the_child_has_given_up_network_programs_files_and_memory() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONFINED, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert told.decode().strip().split(";") == [
        *("socket SandboxViolationError", "names SandboxViolationError", "program SandboxViolationError"),
        *("file SandboxViolationError", "memory MemoryError"),
    ]


async def test_what_is_not_made_in_time_is_given_up(
    application: FastAPI, tenant: Tenant, street: str
) -> None:
    provide_resources(application, ReportProcessPool(timeout_s=0.01))
    answer = await tenant.client.get(f"/v1/sites/{street}/reports/day")
    assert (answer.status_code, answer.json()["code"]) == (503, "report_not_made")
    with pytest.raises(Exception, match="could not be generated"):
        await ReportProcessPool().render(b"no material")


async def test_one_organisation_does_not_take_all_places(
    application: FastAPI, tenant: Tenant, street: str
) -> None:
    report_processes = get_resource(application, ReportProcessPool)
    calls = [
        tenant.client.get(f"/v1/sites/{street}/reports/day", params={"date": str(DAY), "box": "quiet"})
        for _ in range(6)
    ]
    answers = await asyncio.gather(*calls)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 200, 200, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "too_many_reports"
    assert int(refused.headers["retry-after"]) > 0
    # All places were given back.
    assert not report_processes.tenant_count


async def test_who_hangs_up_gives_the_place_back(application: FastAPI, tenant: Tenant, street: str) -> None:
    report_processes = get_resource(application, ReportProcessPool)
    asked = tenant.client.build_request("GET", f"/v1/sites/{street}/reports/month?month=2026-03&format=pdf")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.url.path,
        "raw_path": asked.url.raw_path.partition(b"?")[0],
        "query_string": asked.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in asked.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("vigie.test", 80),
    }
    client, answers = Client(), list[Message]()

    async def send(message: Message) -> None:
        answers.append(message)

    # Through all that stands before the application, as a server calls it.
    answering = asyncio.create_task(application(scope, client.receive, send))
    await until(children)
    assert report_processes.tenant_count == 1
    client.gone.set()
    await answering
    assert not children()
    assert not report_processes.tenant_count
    # Nobody hears it, but it is no fault of ours.
    assert answers[0]["status"] == 400


async def test_a_week_is_reported_from_monday_to_sunday(tenant: Tenant, street: str) -> None:
    for day in ("2026-03-23", "2026-03-29"):
        root = await page(tenant.client, street, "week", date=day)
        title = next(root.iter("title")).text or ""
        assert title.startswith("Weekly report")
        assert title.endswith("23 March \u2013 29 March 2026")
    whole = text(root)
    # It has figures of days, as a month, and of the week.
    assert "Day by day" in whole
    answer = await report(tenant.client, street, "week", date="2026-03-29", format="pdf", language="fr")
    assert "RAPPORT HEBDOMADAIRE" in pdf_text(answer)
    assert answer.headers["content-disposition"].endswith('-2026-W13-fr.pdf"')
    refused = await tenant.client.get(f"/v1/sites/{street}/reports/week", params={"date": "2126-01-01"})
    assert (refused.status_code, refused.json()["code"]) == (422, "period_not_over")


async def test_the_csv_has_the_numbers_of_series(tenant: Tenant, street: str) -> None:
    for length, day, bucket, span in (
        ("day", "2026-03-29", "1h", ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")),
        ("week", "2026-03-29", "1d", ("2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z")),
    ):
        answer = await report(tenant.client, street, length, date=day, format="csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        for metric in ("pm2_5", "laeq"):
            query = {"metric": metric, "bucket": bucket, "from": span[0], "to": span[1]}
            series = (await tenant.client.get("/v1/boxes/loud/readings", params=query)).json()["points"]
            points = [point for point in series if point["count"]]
            found = [row for row in rows if (row["box"], row["metric"]) == ("loud", metric)]
            assert [int(row["count"]) for row in found] == [point["count"] for point in points]
            for row, point in zip(found, points, strict=True):
                assert datetime.fromisoformat(row["from"]) == datetime.fromisoformat(point["time"])
                for name, of in (("mean", "avg"), ("min", "min"), ("max", "max")):
                    assert float(row[name]) == pytest.approx(point[of], rel=1e-3)
    preferred = await report(tenant.client, street, "day", ("text/csv", "*"), date=str(DAY))
    assert preferred.text.startswith("box,metric,unit,from,to,mean")
