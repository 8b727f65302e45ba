"""The pages of requests: forms that work without scripts, in both languages."""

import re

import httpx
import pytest

from tests.conftest import Tenant

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
WORDS = "Que garde le boîtier du numéro 12 ?"


@pytest.fixture
async def street(tenant: Tenant, site: str) -> str:
    """A site with a box: the register has no others."""
    answer = await tenant.client.post("/v1/boxes", json={"id": "rights-2", "site_id": site})
    assert answer.status_code == 201
    return site


def shown(page: httpx.Response, name: str) -> str:
    found = re.search(rf'<code id="{name}">([^<]+)</code>', page.text)
    assert found is not None, page.text
    return found[1]


async def send(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    return await client.post(path, data=fields)


async def test_a_form_is_sent_followed_answered_and_read(
    anybody: httpx.AsyncClient, tenant: Tenant, street: str
) -> None:
    form = await anybody.get(f"/public/requests?lang=fr&site={street}")
    assert form.status_code == 200
    assert f'<option value="{street}" selected>Rue d&#39;Alsace</option>' in form.text
    assert form.headers["cache-control"] == "no-store"
    local = {"begins_at": "2026-07-01T20:00", "ends_at": "2026-07-01T22:30"}
    made = await send(
        anybody, "/public/requests?lang=fr", kind="access", site_id=street, message=WORDS, **local
    )
    assert made.status_code == 201, made.text
    own = {name: shown(made, name) for name in ("reference", "token")}
    (row,) = (await tenant.client.get("/v1/rights-requests")).json()["data"]
    assert (row["reference"], row["message"], row["language"]) == (own["reference"], WORDS, "fr")
    # By the clock of the place: two hours ahead of UTC in July.
    assert row["begins_at"] == "2026-07-01T18:00:00Z"
    followed = await send(anybody, "/public/requests/status?lang=fr", **own)
    assert "Retirer la demande" in followed.text
    said = {"outcome": "nothing_held", "answer": "Rien <de vous>."}
    await tenant.client.post(f"/v1/rights-requests/{row['id']}/answer", json=said)
    answered = await send(anybody, "/public/requests/status?lang=en", **own)
    assert "No data are stored" in answered.text
    assert "Rien &lt;de vous&gt;." in answered.text
    assert "Withdraw the request" not in answered.text
    late = await send(anybody, "/public/requests/withdraw", **own)
    assert (late.status_code, "request is already closed" in late.text) == (409, True)


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"kind": "access", "message": " "}, 422, "Write something"),
        ({"kind": "revenge", "message": WORDS}, 422, "Check your input"),
        ({"kind": "access", "message": WORDS, "begins_at": "yesterday"}, 422, "Check your input"),
        ({"kind": "access", "message": WORDS, "site_id": "nowhere"}, 422, "Check your input"),
        (
            {"kind": "access", "message": "UklGR" + "iQAAABXQVZFZm10" * 60},
            422,
            "Pictures, sound and long codes",
        ),
        (
            {
                "kind": "access",
                "message": WORDS,
                "begins_at": "2026-07-01T20:00",
                "ends_at": "2026-07-01T19:00",
            },
            422,
            "The end must be after",
        ),
    ],
)
async def test_what_was_written_is_not_lost_when_it_cannot_be_taken(
    anybody: httpx.AsyncClient, fields: dict[str, str], status: int, said: str
) -> None:
    page = await send(anybody, "/public/requests?lang=en", **fields)
    assert (page.status_code, said in page.text) == (status, True)
    assert fields["message"].strip() in page.text.replace("&#39;", "'")


async def test_a_form_of_another_sites_page_is_refused(anybody: httpx.AsyncClient) -> None:
    foreign = await anybody.post(
        "/public/requests",
        data={"kind": "access", "message": WORDS},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert foreign.status_code == 403
    assert 'id="token"' not in foreign.text
    cut = await anybody.post("/public/requests", content=b"message=%ff%fe&kind=access", headers=FORM)
    assert cut.status_code == 422
    large = await anybody.post("/public/requests", content=b"message=" + b"a" * 20_000, headers=FORM)
    assert large.status_code == 413


@pytest.mark.parametrize("time", ["0001-01-01T00:00", "9999-12-31T23:59", "1999-12-31T10:00"])
async def test_a_time_that_no_calendar_has_is_told_on_the_page(
    anybody: httpx.AsyncClient, tenant: Tenant, time: str
) -> None:
    place = {"type": "Point", "coordinates": [1.4442, 43.6047]}
    body = {"name": "S", "kind": "street", "timezone": "America/Los_Angeles", "location": place}
    site = (await tenant.client.post("/v1/sites", json=body)).json()["id"]
    (await tenant.client.post("/v1/boxes", json={"id": "west", "site_id": site})).raise_for_status()
    given = {"kind": "access", "message": "?", "site_id": site, "ends_at": time}
    answer = await anybody.post("/public/requests?lang=en", data=given)
    assert answer.status_code == 422
