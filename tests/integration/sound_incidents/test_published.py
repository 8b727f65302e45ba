"""What the public register says of a site's incidents."""

from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from tests.conftest import client_of
from tests.incidents import put_incident
from tests.integration.sound_incidents.square import Square

_REVIEW = """
UPDATE incidents SET state = $2, reviewed_kind = 'user', reviewed_by = gen_random_uuid(),
    reviewed_at = now(), review_s = 60, outcome = 'gunshot'
WHERE id = $1
"""


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_the_register_publishes_how_often_incidents_were_real(
    square: Square, application: FastAPI, database: Database, language: str
) -> None:
    made = [await put_incident(database, square.site) for _ in range(5)]
    reviewed = [*((each, "confirmed") for each in made[:3]), (made[3], "dismissed")]
    for incident, state in reviewed:
        await square.owner.execute(_REVIEW, UUID(incident), state)
    await square.owner.execute(
        "UPDATE site_purposes SET starts_at = now() - interval '73 days' WHERE purpose = 'acoustic_safety'"
    )
    async with client_of(application, None) as anybody:
        site = await _site(anybody, square.site)
        page = await anybody.get(f"/public/sites/{square.site}?lang={language}")
    figures = site["incidents"]
    assert (figures["last_30_days"], figures["confirmed"], figures["dismissed"]) == (5, 3, 1)
    assert figures["precision"] == 0.75
    # Wilson's interval of three out of four, by hand: (3 + 1.92) / 7.84 -+ 0.327.
    assert figures["precision_interval"] == pytest.approx([0.3006, 0.9544], abs=1e-3)
    assert figures["false_alarms_per_year"] == pytest.approx(5.0, abs=0.05)
    shown = page.text.replace("\u202f", " ").replace("\u00a0", " ").replace("75%", "75 %")
    said = {
        "en": "75 %; reviewed incidents: 4",
        "fr": "75 % ; incidents examinés : 4",
    }
    assert said[language] in shown


async def _site(client: httpx.AsyncClient, site: str) -> dict[str, dict[str, float]]:
    (found,) = [
        each for each in (await client.get("/public/register.json")).json()["sites"] if each["id"] == site
    ]
    return dict(found)


async def test_days_after_its_end_make_no_purpose_look_better(
    square: Square, application: FastAPI, database: Database
) -> None:
    made = await put_incident(database, square.site)
    await square.owner.execute(_REVIEW, UUID(made), "dismissed")
    await square.owner.execute(
        "UPDATE site_purposes SET starts_at = now() - interval '300 days', ends_at = now() - interval "
        "'290 days' WHERE purpose = 'acoustic_safety'"
    )
    async with client_of(application, None) as anybody:
        site = await _site(anybody, square.site)
    assert site["incidents"]["false_alarms_per_year"] == pytest.approx(36.5, abs=0.1)
