"""A city to look at, and Chromium to look at it with, which may ask our own server and nobody else."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
from playwright.async_api import Browser, BrowserContext, Page, Request, Route, async_playwright

from tests.scenarios.processes import until

_ROOT: Final = Path(__file__).parents[3]
AXE: Final = _ROOT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_GRAVE: Final = {"serious", "critical"}
# Reads of what is refused, and of a year of sound and dust.
_FIGURES: Final = """
INSERT INTO daily (day, box_key, count, metric, mean, min, max, p10, p50, p90, p95)
SELECT (date_trunc('day', now(), 'Europe/Paris')) - d.n * interval '1 day', b.key, 1440, m.metric,
    m.mean + m.swing * sin(d.n / 18.0) + m.swing / 3 * sin(d.n * 1.7), 0, 0, 0, 0, 0, 0
FROM boxes b, generate_series(1, 364) AS d (n),
    (VALUES ('laeq', 62::float8, 4::float8), ('pm2_5', 11, 5), ('no2', 24, 8)) AS m (metric, mean, swing)
"""
_HOURS: Final = """
INSERT INTO hourly SELECT date_trunc('day', now(), 'UTC') - d.n * interval '1 day', b.key, m.metric,
    array_fill(60, '{24}'),
    ARRAY(SELECT m.mean + m.swing * sin((h - 8) / 3.8) + sin(h * d.n * 1.3) FROM generate_series(1, 24) h),
    array_fill(0::float8, '{24}'), array_fill(0::float8, '{24}'), array_fill(0::real, '{24}'),
    array_fill(0::real, '{24}'), array_fill(0::real, '{24}'), array_fill(0::real, '{24}')
FROM boxes b, generate_series(0, 7) AS d (n),
    (VALUES ('laeq', 62::float8, 5::float8), ('pm2_5', 11, 4), ('no2', 24, 9)) AS m (metric, mean, swing)
"""
_PURPOSES: Final = """
UPDATE site_purposes SET legal_basis = 'public_task',
    legal_reference = 'Code de l''environnement, article L. 572-1',
    controller = 'Ville de Toulouse', contact = 'donnees@toulouse.example',
    notice = 'https://toulouse.example/capteurs', declared_by = gen_random_uuid(), declared_kind = 'user',
    description = 'To know how loud the street is by day and by night, and to act where it is too loud.',
    description_fr = 'Connaître le niveau sonore de la rue, de jour comme de nuit, et agir là où il est trop '
        'élevé.', open_data = true
WHERE purpose = 'noise'
"""
# As an operator does who has decided that the air is not about persons.
_AIR: Final = """
UPDATE site_purposes SET legal_basis = 'not_personal_data', controller = 'Ville de Toulouse',
    contact = 'donnees@toulouse.example', notice = 'https://toulouse.example/capteurs',
    declared_by = gen_random_uuid(), declared_kind = 'user', open_data = true,
    description = 'To show how clean the air is where people are.',
    description_fr = 'Montrer la qualité de l''air là où sont les gens.'
WHERE purpose = 'air_quality'
"""
_SAMPLES: Final = """
INSERT INTO samples (box_key, time, laeq, pm2_5, no2)
SELECT b.key, t.time, 60 + 5 * sin(extract(epoch FROM t.time) / 9000) + random() * 3,
    9 + 4 * sin(extract(epoch FROM t.time) / 15000) + random(),
    22 + 8 * sin(extract(epoch FROM t.time) / 12000) + random() * 2
FROM boxes b, generate_series(now() - interval '25 hours', now(), interval '1 minute') AS t (time)
"""
_SENSITIVE: Final = """
INSERT INTO site_purposes (site_id, purpose, organisation_id, sensitive, legal_basis, legal_reference,
    controller, contact, impact_assessment, notice, description, description_fr, starts_at, ends_at,
    declared_by, declared_kind, approved_by, approved_at)
SELECT s.id, 'acoustic_safety', s.organisation_id, true, 'law_enforcement',
    'Directive (EU) 2016/680, article 8',
    'Police municipale de Toulouse', 'dpo@toulouse.example', 'AIPD 2026-014',
    'https://toulouse.example/acoustique',
    'To send help at once where a shot or an explosion is heard.',
    'Envoyer les secours au plus vite là où un tir ou une explosion est entendu.',
    now() - interval '20 days', now() + interval '1 year', gen_random_uuid(), 'user', gen_random_uuid(), now()
FROM sites s WHERE s.id = $1
"""
_REFUSALS: Final = """
INSERT INTO door_refusals (day, organisation_id, site_id, door, code, purpose, writer, refused)
SELECT current_date, s.organisation_id, s.id, 'mqtt', r.code, r.purpose, 1, r.refused FROM sites s,
    (VALUES ('forbidden_content', NULL, 3), ('purpose_not_declared', 'video_analytics', 41))
    AS r (code, purpose, refused) WHERE s.id = $1
"""


async def undeclared(client: httpx.AsyncClient) -> str:
    """A site with a box of which its operator has declared nothing; gives its id."""
    quay = {
        "name": "Quai de Tounis",
        "kind": "street",
        "timezone": "Europe/Paris",
        "location": {"type": "Point", "coordinates": [1.4405, 43.5965]},
    }
    site: str = (await client.post("/v1/sites", json=quay)).raise_for_status().json()["id"]
    (await client.post("/v1/boxes", json={"id": "quai-1", "site_id": site})).raise_for_status()
    return site


async def furnish(client: httpx.AsyncClient, owner: asyncpg.Connection, street: str) -> None:
    """A city of three sites with all that a page can show."""
    places = [("Place Saint-Cyprien", "street", 1.4312, 43.5985), ("Médiathèque", "office", 1.4534, 43.6113)]
    sites = [street]
    for name, kind, longitude, latitude in places:
        body = {
            "name": name,
            "kind": kind,
            "timezone": "Europe/Paris",
            "location": {"type": "Point", "coordinates": [longitude, latitude]},
            "retention_days": 730,
        }
        sites.append((await client.post("/v1/sites", json=body)).raise_for_status().json()["id"])
    boxes = [
        {
            "id": f"tls-{number}",
            "site_id": sites[number % 3],
            "location": {
                "type": "Point",
                "coordinates": [1.4437 + number / 900, 43.6044 + (number % 4) / 1200],
            },
        }
        for number in range(9)
    ]
    (await client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    hook = {"url": "https://example.com/hook", "recipient": "Centre de supervision de la Ville de Toulouse"}
    (await client.post("/v1/webhooks", json=hook)).raise_for_status()
    for statement in (_PURPOSES, _AIR, _FIGURES, _HOURS, _SAMPLES):
        await owner.execute(statement)
    # Without days after which it is removed no sensitive purpose is in force.
    retention = {"default_days": 730, "purposes": {"acoustic_safety": 30}, "removes": True}
    (await client.put(f"/v1/sites/{street}/retention", json=retention)).raise_for_status()
    for statement in (_SENSITIVE, _REFUSALS):
        await owner.execute(statement, street)
    change = {"address": "Rue d'Alsace-Lorraine, 31000 Toulouse", "open_data_licence": "etalab-2.0"}
    (await client.patch(f"/v1/sites/{street}", json=change)).raise_for_status()


async def wait_until_true(page: Page, expression: str, given: object = None, patience_s: float = 60.0) -> Any:  # noqa: ANN401 (whatever it comes to)
    """Wait until a JavaScript expression is true; gives its value.

    `wait_for_function` evaluates a text in the page when it looks again, which its policy forbids.
    """
    return await until(lambda: page.evaluate(expression, given), patience_s=patience_s)


@dataclass
class WatchedPage:
    """A page, and what must not happen on it."""

    page: Page
    base: str
    foreign: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def guard(self) -> None:
        """Let requests to our own server through, and no others."""
        host = urlsplit(self.base).netloc

        async def decide(route: Route, request: Request) -> None:
            if urlsplit(request.url).netloc == host:
                await route.continue_()
            else:
                self.foreign.append(request.url)
                await route.abort()

        await self.page.route("**/*", decide)
        self.page.on(
            "console", lambda each: self.told.append(each.text) if each.type in {"error", "warning"} else None
        )
        self.page.on("pageerror", lambda error: self.told.append(str(error)))

    def check(self) -> None:
        """Nobody else was asked, and nothing went wrong."""
        assert self.foreign == []
        assert self.told == []

    async def go(self, path: str) -> None:
        """Go somewhere, and wait for the map where there is one."""
        answer = await self.page.goto(self.base + path)
        assert answer is not None
        assert answer.status < 400, path
        await self.map_ready()

    async def map_ready(self) -> None:
        """Wait for the whole page, and for the map, where there is one that scripts may draw."""
        # A click waits until the next page begins to load.
        await self.page.wait_for_load_state()
        if await self.page.locator("#map").count() and await self.page.evaluate("!!window.L"):
            await self.page.wait_for_selector('#map[data-ready="yes"]')

    async def grave(self) -> list[str]:
        """What axe finds that is serious or worse, as it says it."""
        # A page whose style sheet is still on its way has small targets.
        await self.page.wait_for_load_state("load")
        if not await self.page.evaluate("!!window.axe"):
            # By the debugger: the page's own policy lets no foreign script in, and must not.
            await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = await self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules})", _RULES
        )
        return [
            json.dumps(
                {
                    "id": each["id"],
                    "help": each["help"],
                    "nodes": [node["html"] for node in each["nodes"]][:3],
                }
            )
            for each in found["violations"]
            if each["impact"] in _GRAVE
        ]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium; nothing is downloaded."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "chromium is missing: sh deploy/install.sh --tests"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def looking(browser: Browser, base: str, **options: Any) -> AsyncIterator[WatchedPage]:  # noqa: ANN401 (Playwright's)
    """A page of its own; options are those of a browser's context."""
    context: BrowserContext = await browser.new_context(**{"locale": "en-GB", **options})
    context.set_default_timeout(60_000)
    try:
        watched = WatchedPage(await context.new_page(), base)
        await watched.guard()
        yield watched
    finally:
        await context.close()
