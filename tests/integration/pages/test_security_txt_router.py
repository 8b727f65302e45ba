"""`/.well-known/security.txt` of a running API."""

from datetime import UTC, datetime, timedelta

import httpx

from app.pages.settings import SecurityTxtSettings
from app.settings import VigieSettings
from tests.conftest import client_of, new_application, running


async def test_without_a_contact_it_says_which_setting_is_missing(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.get("/.well-known/security.txt")
    assert answer.status_code == 404
    problem = answer.json()
    assert problem["code"] == "no_security_contact"
    assert "VIGIE_SECURITY_TXT__CONTACTS" in problem["detail"]


async def test_it_is_served_to_anybody_as_plain_text(settings: VigieSettings) -> None:
    named = settings.model_copy(
        update={"security_txt": SecurityTxtSettings(contacts=["mailto:security@city.example"])}
    )
    async with running(new_application(named)) as app, client_of(app, None) as client:
        answer = await client.get("/.well-known/security.txt")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert lines["Contact"] == "mailto:security@city.example"
    expires = datetime.fromisoformat(lines["Expires"])
    assert timedelta(days=88) < expires - datetime.now(UTC) <= timedelta(days=90)
