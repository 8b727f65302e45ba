"""`vigie login`, `get`, `export` and `tail` against a real API."""

import csv
import io
import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.client import event_following, export_download, resources
from tests.conftest import STREET, Tenant
from tests.integration.client.conftest import RunVigie
from tests.integration.client.cutting_proxy import cutting
from tests.integration.grants.grants import give
from tests.scenarios.processes import role


async def test_login_stores_a_verified_key(vigie: RunVigie, url: str, tenant: Tenant, tmp_path: Path) -> None:
    refused = await vigie("login", url, key=None, text="vg_wrong\n", code=1)
    assert "does not know this key" in refused.stderr
    profiles = tmp_path / "config/vigie/profiles.json"
    assert not profiles.exists()
    done = await vigie("login", url, "--profile", "here", key=None, text=f"{tenant.key}\n")
    assert "as 'tests' of 'Tenant'" in done.stderr
    assert tenant.key not in done.output
    assert stat.S_IMODE(profiles.stat().st_mode) == 0o600
    listed = await vigie("get", "sites", "--profile", "here", "-o", "json", key=None)
    assert json.loads(listed.stdout) == []
    await vigie("logout", "--profile", "here", key=None)
    assert "vigie login" in (await vigie("get", "sites", "--profile", "here", key=None, code=2)).stderr


async def test_login_with_the_key_of_a_grant(
    vigie: RunVigie, url: str, application: FastAPI, tenant: Tenant, site_id: str
) -> None:
    _, key = await give(application, tenant, site_id, **{"from": None, "until": None})
    done = await vigie("login", url, "--profile", "granted", key=None, text=f"{key}\n")
    assert "as 'Air Lab' with a grant of 'Tenant'" in done.stderr
    assert key not in done.output
    listed = await vigie("get", "sites", "--profile", "granted", "-o", "json", key=None)
    assert [each["id"] for each in json.loads(listed.stdout)] == [site_id]


async def test_get_reads_all_pages(
    vigie: RunVigie, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Quai", "=1+1"):
        (await tenant.client.post("/v1/sites", json=STREET | {"name": name})).raise_for_status()
    paged = replace(resources.RESOURCES["sites"], page_limit=2)
    monkeypatch.setitem(resources.RESOURCES, "sites", paged)
    listed = await vigie("get", "sites", "--sort", "name", "-o", "csv", "--columns", "name,location.type")
    assert [row[0] for row in csv.reader(io.StringIO(listed.stdout))] == [
        *("name", "'=1+1", "Quai", "Rue d'Alsace-Lorraine"),
    ]
    one = await vigie("get", "sites", site_id, "-o", "json")
    assert [site["id"] for site in json.loads(one.stdout)] == [site_id]
    table = await vigie("get", "sites", "--limit", "1")
    assert len(table.stdout.splitlines()) == 2

    (await tenant.client.post("/v1/boxes", json={"id": "street-1", "site_id": site_id})).raise_for_status()
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    samples = [
        {"time": (begin + timedelta(seconds=each)).isoformat(), "values": {"pm2_5": each, "no2": 1}}
        for each in range(30)
    ]
    body = {"box": "street-1", "samples": samples}
    (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()
    monkeypatch.setitem(
        resources.RESOURCES, "readings", replace(resources.RESOURCES["readings"], page_limit=7)
    )
    raw = await vigie("get", "readings", "street-1", "--metric", "pm2_5", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(raw.stdout)))
    assert [float(row["value"]) for row in rows] == [float(each) for each in range(30)]
    cut = await vigie("get", "readings", "street-1", "--metric", "pm2_5", "--limit", "10", "-o", "csv")
    assert cut.stdout.splitlines() == raw.stdout.splitlines()[:11]
    series = await vigie(
        *("get", "series", "--site", "Rue d'Alsace-Lorraine", "--metric", "pm2_5", "--metric", "no2"),
        *("--bucket", "1d", "-o", "csv"),
    )
    assert {row["metric"] for row in csv.DictReader(io.StringIO(series.stdout))} == {"pm2_5", "no2"}
    latest = await vigie("get", "site-latest", site_id)
    assert "pm2_5" in latest.stdout


async def test_refusals_have_exit_codes(vigie: RunVigie) -> None:
    assert "Do you mean sites?" in (await vigie("get", "site", code=2)).stderr
    assert "needs the id of a box" in (await vigie("get", "latest", code=2)).stderr
    assert "not_found" in (await vigie("get", "boxes", "nowhere", code=1)).stderr
    assert "unknown_parameter" in (await vigie("get", "sites", "-p", "colour=red", code=1)).stderr
    assert "There is no site" in (await vigie("get", "boxes", "--site", "Nowhere", code=2)).stderr


@pytest.mark.parametrize("format_", ["csv", "ndjson", "geojson"])
async def test_an_export_is_resumed_where_it_broke_off(  # noqa: PLR0917 (fixtures)
    vigie: RunVigie,
    tenant: Tenant,
    site_id: str,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
) -> None:
    monkeypatch.setattr(export_download, "_FIRST_WAIT_S", 0.01)
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    for box in ("street-1", "street-2"):
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
        samples = [
            {
                "time": (begin + timedelta(seconds=each)).isoformat(),
                "values": {"pm2_5": (each * 7919) % 97 / 7},
            }
            for each in range(1000)
        ]
        (await tenant.client.post("/v1/telemetry", json={"box": box, "samples": samples})).raise_for_status()
    span = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z", "format": format_}
    whole = (await tenant.client.get("/v1/readings/export", params=span)).content
    words = ["export", "--from", span["from"], "--to", span["to"]]
    target = tmp_path / f"day.{format_}"
    async with cutting(url, 20_000) as proxy:
        done = await vigie(*words, "-o", str(target), at=proxy.url)
        assert target.read_bytes() == whole
        assert proxy.cuts >= 3
        assert int(done.stderr.rpartition("resumed ")[2].partition(" ")[0]) >= 3
        assert not any("partial" in path.name for path in tmp_path.iterdir())  # noqa: ASYNC240 (a test)

        # What was given up is continued by the same command.
        other = tmp_path / "later"
        words += ["-o", str(other), "--format", format_]
        proxy.most_bytes = 3_000
        monkeypatch.setattr(export_download, "_ATTEMPTS", 1)
        await vigie(*words, at=proxy.url, code=3)
        assert not other.exists()
        proxy.most_bytes = None
        again = await vigie(*words, at=proxy.url)
        assert "resumed 1 times" in again.stderr
        assert other.read_bytes() == whole


async def test_parts_are_downloaded_once(
    vigie: RunVigie, tenant: Tenant, site_id: str, tmp_path: Path
) -> None:
    (await tenant.client.post("/v1/boxes", json={"id": "street-1", "site_id": site_id})).raise_for_status()
    now = datetime.now(UTC)
    samples = [{"time": (now - timedelta(minutes=1)).isoformat(), "values": {"pm2_5": 1}}]
    (
        await tenant.client.post("/v1/telemetry", json={"box": "street-1", "samples": samples})
    ).raise_for_status()
    folder = tmp_path / "parts"
    first = await vigie("export", "--parts", "--format", "csv", "-o", str(folder))
    assert "1 parts, 0 of them from before" in first.stderr
    assert "street-1" in (folder / "part-0001.csv").read_text()
    second = await vigie("export", "--parts", "--format", "csv", "-o", str(folder))
    assert "1 parts, 1 of them from before" in second.stderr
    await vigie("export", "--parts", "--format", "ndjson", "-o", str(folder), code=1)


async def read_offset(stream: str, tenant: Tenant) -> str:
    """Read the offset at which a stream is now."""
    headers = {"Authorization": f"Bearer {tenant.key}"}
    async with httpx.AsyncClient(headers=headers) as client, client.stream("GET", stream) as answer:
        return str(answer.headers["last-event-id"])


async def test_tail_misses_nothing_over_breaks(  # noqa: PLR0917 (fixtures)
    vigie: RunVigie, tenant: Tenant, site_id: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_following, "_LONGEST_WAIT_S", 0.05)
    (await tenant.client.post("/v1/boxes", json={"id": "street-1", "site_id": site_id})).raise_for_status()
    rule = {
        "site_id": site_id,
        "name": "Fine particles",
        "severity": "warning",
        "condition": {"metric": "pm2_5", "operator": ">", "threshold": 25},
    }
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()

    start = await read_offset(f"{url}/v1/events/stream", tenant)
    begin = datetime.now(UTC) - timedelta(minutes=1)
    for each in range(10):
        values = {"pm2_5": 30 if each % 2 == 0 else 10}
        sample = {"time": (begin + timedelta(seconds=each)).isoformat(), "values": values}
        body = {"box": "street-1", "samples": [sample]}
        (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()

    offset = tmp_path / "offset"
    words = ("tail", "-o", "json", "--offset-file", str(offset), "--count")
    async with role("deliver", tmp_path), cutting(url, 5_000) as proxy:
        first = await vigie(*words, "6", "--after", start, at=proxy.url)
        assert proxy.cuts >= 1
        proxy.most_bytes = None
        second = await vigie(*words, "4", at=proxy.url)
    events = [json.loads(line) for line in (first.stdout + second.stdout).splitlines()]
    assert len({event["id"] for event in events}) == 10
    assert [event["type"] for event in events] == ["alert.firing", "alert.resolved"] * 5


async def test_tail_of_measurements_misses_nothing_over_breaks(  # noqa: PLR0917 (fixtures)
    vigie: RunVigie, tenant: Tenant, site_id: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late samples are there too, in the order in which they were stored."""
    monkeypatch.setattr(event_following, "_LONGEST_WAIT_S", 0.05)
    boxes = ["street-1", "street-2"]
    for box in boxes:
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    start = await read_offset(f"{url}/v1/measurements/stream", tenant)
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    seconds = [*range(1, 16), 0]
    for second in seconds:
        for box in boxes:
            values = {"pm2_5": second + 0.5, "laeq": 50}
            sample = {"time": (begin + timedelta(seconds=second)).isoformat(), "values": values}
            body = {"box": box, "samples": [sample]}
            (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()

    offset = tmp_path / "offset"
    words = ("tail", "measurements", "--box", boxes[0], "--metric", "pm2_5", "--kind", "sample", "--count")
    stored = ("--offset-file", str(offset), "-o", "json")
    async with role("deliver", tmp_path), cutting(url, 2_000) as proxy:
        first = await vigie(*words, "10", "--after", start, *stored, at=proxy.url)
        assert proxy.cuts >= 1
        proxy.most_bytes = None
        second_part = await vigie(*words, "6", "--site", STREET["name"], *stored, at=proxy.url)
        lines = await vigie(*words, "16", "--after", start, at=proxy.url)
    items = [json.loads(line) for line in (first.stdout + second_part.stdout).splitlines()]
    assert len({item["id"] for item in items}) == len(seconds)
    assert {item["box"] for item in items} == {boxes[0]}
    assert [item["values"] for item in items] == [{"pm2_5": second + 0.5} for second in seconds]
    assert [item.get("late") for item in items] == [None] * 15 + [["pm2_5"]]
    assert [line.split()[1:] for line in lines.stdout.splitlines()] == [
        ["sample", boxes[0], f"pm2_5={second + 0.5}"] for second in seconds
    ]
    # What the stream does not know is refused, with what to do.
    refused = await vigie("tail", "measurements", "--kind", "noise", code=1)
    assert "kind" in refused.stderr
