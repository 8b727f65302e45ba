"""What a browser cannot send by itself: odd bytes, ids that are paths, and large forms without a sign-in."""

import httpx
import pytest

from tests.integration.console.visiting import ConsoleClient

OWN = {"Sec-Fetch-Site": "same-origin"}
PAGES = ("alerts", "incidents", "delivery", "delivery/log", "rules", "sites", "boxes", "fleet/quarantine")
ADMINISTERED = ("members", "organisations", "purposes/x", "rights", "report-schedules")
ODD_IDS = ("a%0Ab", "a%3Flimit=1", "a%23b", "a%252Fb", "%2e", "%2e%2e", "é")


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_an_id_leads_to_no_other_call_of_the_api(console: ConsoleClient, odd: str) -> None:
    pages = [*PAGES, *(f"administration/{each}" for each in ADMINISTERED)]
    for page in pages:
        answer = await console.http.get(f"/console/{page}/{odd}")
        assert answer.status_code == 404, (page, answer.status_code)


async def test_names_of_other_calls_are_no_ids(console: ConsoleClient) -> None:
    for path in ("/console/fleet/quarantine/counts", "/console/start?box=.", "/console/start?box=a%0Ab"):
        assert (await console.http.get(path)).status_code == 404, path
    entry = {"entry": "../sites/0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"}
    await console.send("/console/fleet/quarantine/delete", entry, status=404)


async def test_any_bytes_of_a_browser_are_answered(
    console: ConsoleClient, visitor: httpx.AsyncClient
) -> None:
    latin = "café".encode("latin-1")
    page = await console.http.get("/console/alerts", headers={b"User-Agent": latin})
    assert page.status_code == 200
    unknown = await visitor.get("/console/alerts", headers={b"Cookie": b"vigie_session=" + latin})
    assert (unknown.status_code, unknown.headers["location"]) == (
        303,
        "/console/sign-in?next=/console/alerts",
    )
    for token in ("café", "日本"):
        refused = await visitor.post("/console/portal", data={"token": token}, headers=OWN)
        assert refused.status_code == 401
    left = await visitor.get("/console/portal/webhook", headers={b"Cookie": b"vigie_portal=" + latin})
    assert left.headers["location"] == "/console/portal"


async def test_without_a_sign_in_forms_are_small(console: ConsoleClient, visitor: httpx.AsyncClient) -> None:
    large = {"name": "a" * 100_000}
    for path in (
        "/console/sign-in",
        "/console/register",
        "/console/portal",
        "/console/sign-in/second-factor",
    ):
        answer = await visitor.post(path, data=large, headers=OWN)
        assert answer.status_code == 413, path
    # With one, tables and drafts of rules may be larger.
    await console.send("/console/account/profile", {"name": "Ada", "locale": "en", "table": "a" * 500_000})
