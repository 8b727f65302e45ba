"""What is to be erased goes from everywhere, does not come back, and its removal can be proven."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.audit.hash_chain import ChainVerifier
from app.audit.verification import verify_log
from app.processes.audit_cli import open_log_snapshot
from app.settings import VigieSettings
from app.timeseries.erasure import erasure_requests
from app.timeseries.erasure import worker as worker_module
from tests.conftest import STREET, Tenant
from tests.integration.audit.logs import entries
from tests.integration.timeseries.retention.archive import BOX, EVERY, NOW, OTHER, Archive, midnight
from tests.json_numbers import numbers_in

# From the middle of an hour to the middle of another.
FIRST = midnight(6) + timedelta(hours=10, minutes=30)
LAST = midnight(3) + timedelta(hours=4, minutes=30)


async def ask(archive: Archive, path: str = f"boxes/{BOX}", **body: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    body = {"from": FIRST.isoformat(), "until": LAST.isoformat(), "reason": "File 118", **body}
    answer = await archive.tenant.client.post(f"/v1/{path}/erasures", json=body)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def shown(archive: Archive, made: dict[str, Any], path: str = f"boxes/{BOX}") -> dict[str, Any]:
    answer = await archive.tenant.client.get(f"/v1/{path}/erasures/{made['id']}")
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


def chain(*identities: tuple[str, ...]) -> str:
    """The digest, as docs/retention.md has it."""
    known = bytes(32)
    for table, box, time, *more in identities:
        known = hashlib.sha256(known + " ".join((table, box, time, *more)).encode()).digest()
    return known.hex()


def written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def summaries(archive: Archive) -> dict[str, int]:
    """How many values summaries are of, by the roll-up."""
    return {
        "hourly": await archive.owner.fetchval(
            "SELECT sum(c) FROM hourly, unnest(count) AS c WHERE metric = 'pm2_5'"
        ),
        "daily": await archive.owner.fetchval(
            "SELECT sum(count) FROM daily WHERE metric = 'pm2_5' AND day < $1", LAST
        ),
    }


async def test_all_of_it_goes_and_the_log_proves_it(archive: Archive, settings: VigieSettings) -> None:
    await archive.fill(9)
    # In hours that the range cuts in two, on both sides of its ends.
    cut = [edge + timedelta(minutes=minutes) for edge in (FIRST, LAST) for minutes in (-10, 10)]
    await archive.send(BOX, *((time, {"pm2_5": 20.0}) for time in cut))
    await archive.recognise(BOX, FIRST - EVERY, FIRST + EVERY)
    await archive.send(BOX, (NOW, {"pm2_5": -1.0}))
    await archive.owner.execute("UPDATE quarantine SET received_at = $1", FIRST + EVERY)
    await archive.roll_up()
    gone = await archive.times(f"time >= '{FIRST.isoformat()}' AND time < '{LAST.isoformat()}'")
    before, summed = await archive.holds(), await summaries(archive)

    made = await ask(archive)
    assert (made["state"], made["boxes"], made["digest"]) == ("queued", 1, None)
    await archive.erase()
    done = await shown(archive, made)
    assert (done["state"], done["boxes_done"]) == ("done", 1)
    after = await archive.holds()
    assert len(gone) > 8
    assert (before["samples"] - after["samples"], done["removed"]["samples"]) == (len(gone), len(gone))
    assert (before["events"] - after["events"], done["removed"]["events"]) == (1, 1)
    assert (await archive.count("quarantine"), done["removed"]["quarantine"]) == (0, 1)
    # Hours and days that it cut in two say what is left of them, of which readers know at once.
    edge = FIRST.replace(minute=0)
    left = await archive.times(f"time >= '{edge.isoformat()}' AND time < '{FIRST.isoformat()}'")
    readings = {"metric": "pm2_5", "bucket": "1h", "from": edge.isoformat(), "to": NOW.isoformat()}
    for _ in range(2):
        answer = await archive.tenant.client.get(f"/v1/boxes/{BOX}/readings", params=readings)
        point = answer.json()["points"][0]
        # One in six hours may be in this one too.
        assert (point["count"], point["max"]) == (len(left), 20.0)
        await archive.roll_up()
    assert await summaries(archive) == {table: count - len(gone) for table, count in summed.items()}

    events = [("events", BOX, written(FIRST + EVERY), "gunshot")]
    digest = chain(*(("samples", BOX, written(time)) for time in gone), *events)
    assert done["digest"] == digest
    log = [entry for entry in await entries(archive.owner, archive.tenant.id) if "erasure" in entry["action"]]
    assert [entry["action"] for entry in log] == ["erasure.created", "erasure.updated"]
    asked, finished = log
    assert (asked["actor"]["kind"], asked["after"]["box"], asked["after"]["reason"]) == (
        "key",
        BOX,
        "File 118",
    )
    assert finished["subject"]["id"] == made["id"]
    assert finished["after"]["digest"] == digest
    assert finished["after"]["removed"]["samples"] == len(gone)
    async with open_log_snapshot(settings.database) as connection:
        verifier = ChainVerifier()
        assert [finding async for finding in verify_log(connection, verifier, None, lambda _: None)] == []
        assert verifier.entries > 3


async def test_what_is_left_and_cannot_be_summarised_holds_up_nothing(archive: Archive) -> None:
    await archive.fill(9)
    await archive.send(BOX, (FIRST - timedelta(minutes=10), {"laeq": 50.0}))
    await archive.roll_up()
    # Such as a million samples in the hour that is cut, or what a repair by hand has left.
    await archive.owner.execute(
        "UPDATE samples SET laeq = 1e30 WHERE time = $1", FIRST - timedelta(minutes=10)
    )
    made = await ask(archive)
    await archive.erase()
    assert (await shown(archive, made))["state"] == "done"


async def test_latest_values_in_the_consumers_memory_do_not_come_back(archive: Archive) -> None:
    await archive.fill(4)
    minutes = [NOW - timedelta(minutes=minute) for minute in (30, 20, 10)]
    # The consumer has the last of these in memory, and the row of the box does not.
    await archive.send(BOX, *((time, {"pm2_5": 77.0, "co2": 999.0}) for time in minutes))
    path = f"/v1/boxes/{BOX}/latest"
    assert "co2" in (await archive.tenant.client.get(path)).text
    await ask(archive, **{"from": minutes[0].isoformat(), "until": NOW.isoformat()})
    # Before anything is removed the consumer goes on, and writes back what it knows.
    await archive.send(BOX, (NOW + timedelta(seconds=1), {"odour": 1.0}))
    await archive.door.pipeline.write_back(archive.door.connection)
    await archive.erase()
    await archive.send(BOX, (NOW + timedelta(seconds=2), {"odour": 2.0}))
    await archive.door.pipeline.write_back(archive.door.connection)
    answer = await archive.tenant.client.get(path)
    assert answer.status_code == 200
    assert not {77, 999} & numbers_in(answer.text)
    row = await archive.owner.fetchrow("SELECT latest::text, newest_us FROM box_states WHERE box_key = 1")
    assert row is not None
    assert json.loads(row["latest"])["odour"][0] == 2.0
    assert "co2" not in json.loads(row["latest"])
    # The newest value before the range is the latest one again.
    newest = "SELECT pm2_5, extract(epoch FROM time) * 1000000 AS time_us FROM samples WHERE box_key = 1"
    left = await archive.owner.fetchrow(f"{newest} AND pm2_5 IS NOT NULL ORDER BY time DESC LIMIT 1")
    assert left is not None
    assert json.loads(row["latest"])["pm2_5"] == pytest.approx([left["pm2_5"], int(left["time_us"])])


async def test_what_was_erased_is_not_taken_again(archive: Archive) -> None:
    await archive.fill(7)
    await ask(archive)
    # From the moment that it was asked for.
    inside, outside = FIRST + timedelta(hours=1), LAST
    receipt = await archive.send(BOX, (inside, {"pm2_5": 31.0}), (outside, {"pm2_5": 31.0}))
    assert (receipt.stored, [turned.rejection.code for turned in receipt.rejections]) == (1, ["erased_range"])
    taken = await archive.send_event(BOX, inside)
    assert [turned.rejection.code for turned in taken.rejections] == ["erased_range"]
    # Nor is it kept among what was refused.
    assert await archive.count("quarantine", "code = 'erased_range'") == 2
    assert await archive.count("quarantine", "length(payload) > 0") == 0
    body = {"box": BOX, "samples": [{"time": inside.isoformat(), "values": {"pm2_5": 31.0}}]}
    by_http = await archive.tenant.client.post("/v1/telemetry", json=body)
    assert (by_http.status_code, by_http.json()["code"]) == (422, "erased_range")
    # Another box's is, and that of a box registered again under the same id is not.
    other = await archive.send(OTHER, (inside, {"pm2_5": 31.0}))
    assert other.stored == 1
    (await archive.tenant.client.delete(f"/v1/boxes/{BOX}")).raise_for_status()
    again = {"id": BOX, "site_id": archive.site}
    (await archive.tenant.client.post("/v1/boxes", json=again)).raise_for_status()
    receipt = await archive.send(BOX, (inside, {"pm2_5": 31.0}), (outside + EVERY, {"pm2_5": 31.0}))
    assert (receipt.stored, [turned.rejection.code for turned in receipt.rejections]) == (1, ["erased_range"])


async def test_a_sites_boxes_in_slices_give_the_same_proof(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.fill(5)
    await archive.fill(5, box=OTHER)
    await archive.recognise(OTHER, NOW - EVERY, NOW - 2 * EVERY)
    last = NOW.isoformat()
    gone: list[tuple[str, ...]] = [
        ("samples", BOX, written(time)) for time in await archive.times("box_key = 1")
    ]
    gone += [("samples", OTHER, written(time)) for time in await archive.times("box_key = 2")]
    gone += [("events", OTHER, written(NOW - EVERY * back), "gunshot") for back in (2, 1)]
    monkeypatch.setattr(worker_module, "_SLICE", 3)
    monkeypatch.setattr(worker_module, "_RUN_S", 0.0)
    path = f"sites/{archive.site}"
    made = await ask(archive, path, **{"from": None, "until": last})
    assert (made["boxes"], made["box"], made["from"]) == (2, None, None)
    seen = set()
    for _ in range(200):
        await worker_module.ErasureWorker().run_once(archive.maintainer.connection)
        found = await shown(archive, made, path)
        seen.add(found["state"])
        if found["state"] == "done":
            break
    assert seen == {"running", "done"}
    assert (found["boxes_done"], found["digest"]) == (2, chain(*gone))
    assert await archive.holds() == dict.fromkeys(("samples", "events", "hourly", "daily", "values"), 0)
    # It is about each of its boxes, too.
    listed = (await archive.tenant.client.get(f"/v1/boxes/{OTHER}/erasures")).json()["data"]
    assert [each["id"] for each in listed] == [made["id"]]


async def test_a_site_waits_for_its_erasures_also_of_boxes_that_left(archive: Archive) -> None:
    await archive.fill(5)
    client, site = archive.tenant.client, f"/v1/sites/{archive.site}"
    made = await ask(archive)
    new_site = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    for box in (BOX, OTHER):
        (await client.patch(f"/v1/boxes/{box}", json={"site_id": new_site})).raise_for_status()
    refused = await client.delete(site)
    assert (refused.status_code, refused.json()["code"]) == (409, "site_has_erasures")
    while (await shown(archive, made))["state"] != "done":
        await worker_module.ErasureWorker().run_once(archive.maintainer.connection)
    assert (
        await archive.count("samples", f"time <= '{LAST.isoformat()}' AND time >= '{FIRST.isoformat()}'") == 0
    )
    assert (await client.delete(site)).status_code == 204


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"until": (NOW + timedelta(hours=2)).isoformat()}, 422, "until_in_future"),
        ({"from": LAST.isoformat(), "until": FIRST.isoformat()}, 422, "range_reversed"),
        ({"reason": " "}, 422, "invalid_text"),
    ],
)
async def test_what_cannot_be_erased(archive: Archive, body: dict[str, Any], status: int, code: str) -> None:
    answer = await archive.tenant.client.post(f"/v1/boxes/{BOX}/erasures", json={"reason": "x", **body})
    assert answer.status_code == status
    assert code in answer.text
    assert await archive.count("boxes", "NOT isempty(erased)") == 0


async def test_there_are_bounds_and_others_reach_nothing(
    archive: Archive, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_requests, "MAX_UNFINISHED_ERASURES", 3)
    monkeypatch.setattr(erasure_requests, "MAX_ERASED_RANGES", 2)
    made = await ask(archive)
    await ask(archive, until=(FIRST + EVERY).isoformat())

    async def again(day: int, client: httpx.AsyncClient = archive.tenant.client) -> httpx.Response:
        start = datetime(2020, 1, day, tzinfo=UTC)
        body = {"from": start.isoformat(), "until": (start + EVERY).isoformat(), "reason": "x"}
        return await client.post(f"/v1/boxes/{BOX}/erasures", json=body)

    assert (await again(1, other_tenant.client)).status_code == 404
    assert (await other_tenant.client.get(f"/v1/boxes/{BOX}/erasures/{made['id']}")).status_code == 404
    # Those that touch are one.
    assert (await again(1)).status_code == 202
    assert (await again(3)).json()["code"] == "too_many_erasures"
    await archive.erase()
    assert (await again(3)).json()["code"] == "too_many_erased_ranges"
