"""The page of a grant: what the recipient reads, how it accepts, and the key that is shown once."""

import html
import re

import httpx
from fastapi import FastAPI

from tests.conftest import Tenant, client_of
from tests.integration.grants.grants import TERMS, measure, offer, recipient

_FORM = {"Sec-Fetch-Site": "same-origin"}


async def post(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    return await client.post(path, data=fields, headers=_FORM)


async def test_a_person_reads_accepts_and_gets_a_key(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    made = await offer(tenant, measured.site, terms=f"{TERMS}\n<b>No resale.</b>")
    token = made["link"]["token"]
    async with client_of(application, None) as anybody:
        entry = await anybody.get("/grant")
        assert entry.status_code == 200
        assert 'id="enter"' in entry.text
        assert entry.headers["cache-control"] == "no-store"
        shown = await post(anybody, "/grant", token=made["link"]["url"])
        assert shown.status_code == 200
        assert "&lt;b&gt;No resale.&lt;/b&gt;" in shown.text
        assert "Calibration of low-cost sensors" in shown.text
        assert "to within 1,000 m" in shown.text
        french = await post(anybody, "/grant?lang=fr", token=token)
        assert french.headers["content-language"] == "fr"
        assert "Usage permis" in html.unescape(french.text)
        hashed = re.search(r'name="content_hash" value="([0-9a-f]{64})"', shown.text)
        assert hashed is not None
        nameless = await post(anybody, "/grant/accept", token=token, content_hash=hashed[1], name="")
        assert nameless.status_code == 422
        assert 'role="alert"' in nameless.text
        foreign = await anybody.post(
            "/grant/accept",
            data={"token": token, "content_hash": hashed[1], "name": "Eve"},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
        assert foreign.status_code == 403
        accepted = await post(anybody, "/grant/accept", token=token, content_hash=hashed[1], name="Ada")
        assert accepted.status_code == 201
        key = re.search(r'<pre id="key">(vgg_\w+)</pre>', accepted.text)
        assert key is not None
        again = await post(anybody, "/grant/accept", token=token, content_hash=hashed[1], name="Ada")
        assert again.status_code == 410
    async with recipient(application, key[1]) as client:
        assert (await client.get("/v1/grant")).status_code == 200


async def test_an_offer_that_changed_is_shown_again(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    made = await offer(tenant, measured.site)
    token = made["link"]["token"]
    async with client_of(application, None) as anybody:
        for change, text in (({"terms": "Other terms"}, "Other terms"), ({"purpose": "Resale"}, "Resale")):
            shown = await post(anybody, "/grant", token=token)
            hashed = re.search(r'name="content_hash" value="([0-9a-f]{64})"', shown.text)
            assert hashed is not None
            assert text not in shown.text
            (await tenant.client.patch(f"/v1/grants/{made['id']}", json=change)).raise_for_status()
            answer = await post(anybody, "/grant/accept", token=token, content_hash=hashed[1], name="Ada")
            assert answer.status_code == 409
            assert text in answer.text
            assert "The offer has changed meanwhile" in answer.text
            assert hashed[1] not in answer.text
        assert (await post(anybody, "/grant", token="vgo_wrong")).status_code == 410
