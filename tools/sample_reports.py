"""Writes the sample reports of the documentation: `uv run python -m tools.sample_reports`.

It starts the API on a private PostgreSQL and creates two sites of the demo city, with rules and a sample each
five minutes over two months. The staged episodes of the demo are left out. `pdftoppm` (Debian: poppler-utils)
draws the pages. The simulators' values are the same at each run.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from PIL import Image

from simulators.demo_definitions import DEMO_BOXES, DEMO_SITES, DemoBox
from simulators.synthetic_values import measure_values
from tools.private_api import start_private_api

DOCS: Final = Path(__file__).parent.parent / "docs"
INTERVAL_S: Final = 300
FIRST: Final = datetime(2026, 9, 1, tzinfo=UTC) - timedelta(hours=2)
LAST: Final = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=6)
DAY: Final = "2026-10-20"
MONTH: Final = "2026-10"
BATCH: Final = 500
# A box that was without power for some hours, and one that was for days.
GAPS: Final = {
    "demo-street-2": [(datetime(2026, 10, 20, 3, tzinfo=UTC), datetime(2026, 10, 20, 7, tzinfo=UTC))],
    "demo-street-4": [(datetime(2026, 10, 8, 9, tzinfo=UTC), datetime(2026, 10, 11, 15, tzinfo=UTC))],
}
RULES: Final[dict[str, list[tuple[str, str, dict[str, Any]]]]] = {
    "street": [
        (
            "PM2.5 > 20 µg/m³",
            "warning",
            {"metric": "pm2_5", "operator": ">", "threshold": 20, "clear": 17, "for": "PT15M"},
        ),
        (
            "NO₂ > 90 µg/m³",
            "info",
            {"metric": "no2", "operator": ">", "threshold": 90, "clear": 80, "for": "PT15M"},
        ),
        (
            "LAeq > 72 dB",
            "critical",
            {"metric": "laeq", "operator": ">", "threshold": 72, "clear": 70, "for": "PT20M"},
        ),
    ],
    "office": [
        (
            "CO₂ > 1,000 ppm",
            "warning",
            {"metric": "co2", "operator": ">", "threshold": 1_000, "clear": 950, "for": "PT15M"},
        ),
    ],
}
REPORTS: Final = (
    ("street", "month", {"month": MONTH, "language": "fr"}, "report-month-fr"),
    ("street", "day", {"date": DAY, "language": "en"}, "report-day-en"),
    ("office", "month", {"month": MONTH, "language": "en"}, "report-office-month-en"),
)
PUBLISHED_PDFS: Final = ("report-month-fr", "report-day-en")


def list_samples(place: DemoBox) -> Iterator[dict[str, Any]]:
    """List the samples of a box over the two months, without its gaps."""
    box = replace(place.box(), episodes=())
    at = FIRST
    while at < LAST:
        if not any(begin <= at < end for begin, end in GAPS.get(place.id, [])):
            yield {"time": at.isoformat(), "values": measure_values(box, at.timestamp())}
        at += timedelta(seconds=INTERVAL_S)


async def create_site(client: httpx.AsyncClient, kind: str) -> str:
    """Create a site with its rules and boxes, and send their samples."""
    spec = DEMO_SITES[kind]
    body = {
        "name": spec.name,
        "kind": spec.kind,
        "timezone": spec.timezone,
        "location": {"type": "Point", "coordinates": [spec.longitude, spec.latitude]},
    }
    site: str = (await client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    for name, severity, condition in RULES[kind]:
        rule = {"site_id": site, "name": name, "severity": severity, "condition": condition}
        (await client.post("/v1/rules", json=rule)).raise_for_status()
    for place in DEMO_BOXES:
        if place.site != kind:
            continue
        box = {"id": place.id, "name": place.name, "site_id": site, "interval_s": INTERVAL_S}
        (await client.post("/v1/boxes", json=box)).raise_for_status()
        waiting = list(list_samples(place))
        for start in range(0, len(waiting), BATCH):
            batch = {"box": place.id, "samples": waiting[start : start + BATCH]}
            (await client.post("/v1/telemetry", json=batch)).raise_for_status()
    listed = (await client.get("/v1/alerts", params={"site": site, "limit": 200})).raise_for_status().json()
    for alert in listed["data"][::3]:
        # One that resolved without is left as it is.
        await client.post(f"/v1/alerts/{alert['id']}/acknowledge")
    return site


async def write_reports(folder: Path) -> None:
    """Write the reports of the sample sites into a folder."""
    async with start_private_api(folder, "Ville démo") as api:
        client = api.tenant.client
        client.timeout = httpx.Timeout(120)
        sites = {kind: await create_site(client, kind) for kind in RULES}
        for kind, length, params, name in REPORTS:
            response = await client.get(
                f"/v1/sites/{sites[kind]}/reports/{length}", params={**params, "format": "pdf"}
            )
            (folder / f"{name}.pdf").write_bytes(response.raise_for_status().content)


def draw_pages(pdf: Path, folder: Path, out: Path) -> None:
    """Draw the first pages of a PDF side by side."""
    program = shutil.which("pdftoppm")
    if program is None:
        raise SystemExit("pdftoppm is missing: apt-get install poppler-utils")
    subprocess.run([program, "-r", "80", "-l", "3", "-png", pdf, folder / pdf.stem], check=True)  # noqa: S603
    pages = [Image.open(path) for path in sorted(folder.glob(f"{pdf.stem}-*.png"))]
    gap = 12
    width = sum(each.width for each in pages) + gap * (len(pages) + 1)
    sheet = Image.new("RGB", (width, pages[0].height + 2 * gap), "#cbd5e1")
    for place, each in enumerate(pages):
        sheet.paste(each, (gap + place * (each.width + gap), gap))
    sheet.quantize(96).save(out, optimize=True)


def main() -> None:
    """Write all reports, and put them where the documentation shows them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(write_reports(folder))
        for *_, report in REPORTS:
            draw_pages(folder / f"{report}.pdf", folder, DOCS / "img" / f"{report}.png")
            if report in PUBLISHED_PDFS:
                shutil.copy(folder / f"{report}.pdf", DOCS / "samples" / f"{report}.pdf")


if __name__ == "__main__":
    main()
