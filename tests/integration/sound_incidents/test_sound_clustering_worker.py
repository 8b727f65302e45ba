"""From events in the pipeline to incidents and what is told of them, under the roles of the processes."""

import asyncio
import random
import time
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.notifications.events import outbox
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.sound_incidents import incident_writer
from app.sound_incidents.event_clustering import cluster_events
from app.sound_incidents.settings import IncidentSettings
from app.sound_incidents.sound_clustering_worker import IncidentWorker
from app.timeseries.erasure.worker import ErasureWorker
from simulators.shot_reports import distance_m
from tests.integration.sound_incidents.square import BOXES, SHOT, Report, Square, shot
from tests.roles import working_as

_COMPARED = (
    *(
        "state",
        "evidence",
        "verified",
        "occurred_at",
        "longitude",
        "latitude",
        "ellipse",
        "classes",
        "models",
    ),
    *("probability", "rounds", "boxes", "crowded", "first_heard_at", "last_heard_at"),
)


def compared(incidents: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What of incidents follows from their events; superseded ones are nothing any more."""
    found = [tuple(each[name] for name in _COMPARED) for each in incidents if each["state"] == "open"]
    return sorted(found, key=str)


async def begin_anew(square: Square) -> None:
    await square.owner.execute("DELETE FROM events; DELETE FROM incidents; DELETE FROM outbox")
    await square.owner.execute("DELETE FROM incident_marks")


async def test_what_comes_in_quick_succession_is_looked_at_once_and_not_waited_for_without_end(
    square: Square,
) -> None:
    square.settings = IncidentSettings(gather_s=30)
    reports = shot()
    await square.send(reports[:3])
    await square.work()
    assert await square.incidents() == []
    # What has waited is not made to wait by what comes after it.
    await square.owner.execute("UPDATE incident_marks SET made_at = made_at - interval '91 seconds'")
    await square.send(reports[3:])
    await square.work()
    (incident,) = await square.incidents()
    assert incident["boxes"] == sorted(BOXES)
    assert [kind for kind, _ in await square.told()] == ["incident.detected"]
    await begin_anew(square)
    await square.send(reports)
    await square.work()
    assert await square.incidents() == []
    await square.owner.execute("UPDATE incident_marks SET made_at = made_at - interval '31 seconds'")
    await square.work()
    assert len(await square.incidents()) == 1


async def test_a_shot_that_six_boxes_heard_has_a_place(square: Square) -> None:
    await square.send(shot())
    await square.work()
    (incident,) = await square.incidents()
    assert (incident["state"], incident["evidence"], incident["verified"]) == ("open", "position", True)
    assert distance_m((incident["longitude"], incident["latitude"]), SHOT) < 5
    assert incident["boxes"] == sorted(BOXES)
    ((kind, told),) = await square.told()
    assert kind == "incident.detected"
    assert (told["incident_id"], told["sequence"]) == (str(incident["id"]), 1)
    assert await square.owner.fetchval("SELECT count(*) FROM incident_marks") == 0


async def test_what_is_known_grows_and_is_told_when_it_matters(square: Square) -> None:
    square.settings = square.settings.model_copy(update={"update_every_s": 0.001})
    reports = shot()
    seen = []
    for report in reports:
        await square.send([report])
        await square.work()
        (incident,) = await square.incidents()
        seen.append((incident["evidence"], incident["verified"]))
    assert seen[:4] == [
        ("unlocated", False),
        ("branch", False),
        ("position", False),
        ("position", True),
    ]
    told = await square.told()
    assert told[0][0] == "incident.detected"
    assert {kind for kind, _ in told[1:]} == {"incident.updated"}
    assert [payload["sequence"] for _, payload in told] == list(range(1, len(told) + 1))
    assert "evidence" in told[1][1]["changes"]
    assert len(told) <= len(reports)
    # Nothing new: nothing is told.
    await square.send(reports)
    await square.work()
    assert await square.told() == told


async def test_updates_are_told_no_more_often_than_said(square: Square) -> None:
    square.settings = square.settings.model_copy(update={"update_every_s": 3600})
    reports = shot()
    for report in reports:
        await square.send([report])
        await square.work()
    assert [kind for kind, _ in await square.told()] == ["incident.detected"]
    # As if that time had passed.
    square.settings = square.settings.model_copy(update={"update_every_s": 0.001})
    await square.work()
    (_, (kind, told)) = await square.told()
    assert (kind, told["evidence"], told["sequence"]) == ("incident.updated", "position", 2)


@pytest.mark.parametrize("seed", range(4))
async def test_no_order_of_delivery_makes_another_incident(square: Square, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (a test's)
    reports: list[Report] = []
    for number in range(2):
        reports += shot(
            seed * 7 + number,
            ago_s=60.0 + 20 * number,
            rounds=1 + number,
            echo=0.3,
            place=(SHOT[0] + chance.uniform(-1e-3, 1e-3), SHOT[1] + chance.uniform(-1e-3, 1e-3)),
        )
    await square.send(reports)
    await square.work()
    expected = compared(await square.incidents())
    assert len(expected) >= 2
    await begin_anew(square)
    again = [*reports, *chance.choices(reports, k=6)]
    chance.shuffle(again)
    while again:
        part = [again.pop() for _ in range(min(len(again), chance.randint(1, 7)))]
        await square.send(part)
        if chance.random() < 0.7:
            await square.work()
    await square.work()
    assert compared(await square.incidents()) == expected
    detected = [told["incident_id"] for kind, told in await square.told() if kind == "incident.detected"]
    assert len(detected) == len(set(detected))


async def test_a_late_event_makes_the_place_of_an_open_incident_and_is_kept_with_a_reviewed_one(
    square: Square,
) -> None:
    reports = shot(ago_s=3 * 3600)
    await square.send(reports[:3])
    await square.work()
    (before,) = await square.incidents()
    await square.send(reports[3:5])
    await square.work()
    (after,) = await square.incidents()
    assert after["id"] == before["id"]
    assert (before["verified"], after["verified"]) == (False, True)
    await square.owner.execute(
        "UPDATE incidents SET state = 'confirmed', outcome = 'pistol', reviewed_kind = 'user',"
        " reviewed_by = $1, reviewed_at = now(), untold = false",
        new_id(),
    )
    await square.send(reports[5:])
    await square.work()
    (reviewed,) = await square.incidents()
    assert compared([reviewed | {"state": "open"}]) == compared([after])
    roles = await square.owner.fetch("SELECT role FROM incident_events ORDER BY time")
    assert [row["role"] for row in roles] == ["round"] * 5 + ["after_review"]


async def test_what_nobody_would_call_a_shot_opens_nothing(square: Square) -> None:
    reports = shot(source="door_slam")
    for _, event in reports:
        event["type"] = "impulse"
        event["candidates"] = [{"class": "door_slam", "confidence": 0.95}]
    await square.send(reports)
    await square.work()
    assert await square.incidents() == []
    assert await square.told() == []


async def test_boxes_without_a_place_count_as_hearing_and_tell_no_place(square: Square) -> None:
    await square.owner.execute(
        "UPDATE boxes SET longitude = NULL, latitude = NULL WHERE id = ANY ($1::text[])",
        ["square-1", "square-2"],
    )
    reports = shot()
    await square.send(reports)
    await square.work()
    (incident,) = await square.incidents()
    assert (incident["evidence"], incident["boxes"]) == ("position", sorted(BOXES))
    verdicts = await square.owner.fetch("SELECT box, verdict FROM incident_events ORDER BY box")
    assert [row["verdict"] for row in verdicts] == ["unplaced"] * 2 + ["used"] * 4


async def test_the_air_is_as_warm_as_boxes_measured(square: Square) -> None:
    reports = shot(temperature_c=-5.0)
    client = square.tenant.client
    at = reports[0][1]["time"]
    for box, value in (("square-1", -4.0), ("square-2", -5.0), ("square-3", -6.0)):
        body = {"box": box, "samples": [{"time": at, "values": {"temperature": value}}]}
        (await client.post("/v1/telemetry", json=body)).raise_for_status()
    await square.send(reports)
    await square.work()
    (incident,) = (await client.get("/v1/incidents")).json()["data"]
    assert incident["temperature"] == {
        "celsius": -5.0,
        "sigma_celsius": 2.0,
        "source": "measured",
        "boxes": 3,
    }
    assert distance_m(incident["geometry"]["coordinates"], SHOT) < 5


async def test_what_is_erased_lives_on_in_no_incident(square: Square) -> None:
    await square.send(shot())
    await square.work()
    (before,) = await square.incidents()
    erased = "square-2"
    body = {"reason": "Request 7", "until": (before["last_heard_at"] + timedelta(seconds=1)).isoformat()}
    answer = await square.tenant.client.post(f"/v1/boxes/{erased}/erasures", json=body)
    assert answer.status_code == 202, answer.text
    worker = ErasureWorker()
    while await worker.run_once(square.maintainer):
        pass
    (bare,) = await square.incidents()
    assert bare["erased_at"] is not None
    assert bare["latitude"] is bare["classes"] is bare["occurred_at"] is bare["boxes"] is None
    listed = (await square.tenant.client.get("/v1/incidents")).json()["data"]
    assert listed == []
    data = await square.owner.fetch("SELECT data FROM incident_history")
    assert [row["data"] for row in data] == [None]
    # Of what is left it is made anew, and says nothing of that box.
    await square.work()
    (anew,) = await square.incidents()
    assert (anew["id"], anew["erased_at"]) == (before["id"], None)
    assert erased not in anew["boxes"]
    assert len(anew["boxes"]) == 5


async def test_of_a_reviewed_incident_its_finding_is_left_and_of_an_open_one_nothing(square: Square) -> None:
    await square.send(shot())
    await square.send(shot(2, ago_s=600.0))
    await square.work()
    one, other = await square.incidents()
    await square.owner.execute(
        "UPDATE incidents SET state = 'confirmed', outcome = 'pistol', reviewed_kind = 'user', review_s = 4,"
        " reviewed_by = $1, reviewed_at = now(), note = 'seen' WHERE id = $2",
        *(new_id(), one["id"]),
    )
    # As the removal of boxes does, and of what is too old.
    await square.maintainer.execute("DELETE FROM events WHERE time < now()")
    await square.work()
    found = {row["id"]: row for row in await square.incidents()}
    kept, gone = found[one["id"]], found[other["id"]]
    assert (kept["state"], kept["outcome"], kept["review_s"], kept["note"]) == (
        "confirmed",
        "pistol",
        4,
        None,
    )
    midnight = kept["detected_at"].replace(hour=0, minute=0, second=0, microsecond=0)
    assert kept["detected_at"] == midnight
    assert kept["reviewed_at"].time() == midnight.time()
    assert (gone["state"], gone["outcome"], gone["reviewed_kind"]) == ("dismissed", "erased", "system")
    assert (await square.told())[-1][1]["outcome"] == "erased"
    path = f"/v1/sites/{square.site}/incident-statistics"
    day_before = (midnight - timedelta(days=1)).isoformat()
    told = (await square.tenant.client.get(path, params={"from": day_before})).json()
    assert [told[name] for name in ("open", "confirmed", "dismissed", "withdrawn")] == [0, 1, 0, 1]


async def test_two_workers_at_once_do_nothing_twice(square: Square, database: Database) -> None:
    async with working_as("maintain", database) as maintain:
        other = await maintain.connect()
        workers = [(IncidentWorker(square.settings), each) for each in (square.maintainer, other)]
        for number in range(4):
            await square.send(shot(number, ago_s=900.0 - 60 * number))
        more = True
        while more:
            more = any(await asyncio.gather(*(worker.run_once(connection) for worker, connection in workers)))
        await other.close()
    assert len(await square.incidents()) == 4
    told = [payload["incident_id"] for _, payload in await square.told()]
    assert len(told) == len(set(told)) == 4


async def test_whoever_dies_before_the_end_has_told_nothing(
    square: Square, monkeypatch: pytest.MonkeyPatch
) -> None:
    await square.send(shot())
    enqueue = outbox.enqueue_events

    async def dying(connection: asyncpg.Connection, records: Any) -> None:  # noqa: ANN401 (whatever is told)
        await enqueue(connection, records)
        # As `kill -9` of the process does, just before the commit.
        connection.terminate()

    monkeypatch.setattr(incident_writer, "enqueue_events", dying)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await square.work()
    monkeypatch.undo()
    assert await square.incidents() == []
    assert await square.told() == []
    assert await square.owner.fetchval("SELECT count(*) FROM incident_marks") > 0


async def test_a_flood_of_one_box_costs_little_and_hides_nobody(square: Square) -> None:
    """3,000 events of one box within a minute, and a shot in the middle of them."""
    reports = shot(ago_s=60.0)
    start = int(time.time() * 1000) - 90_000
    flood: list[Report] = [
        ("square-6", {"time": start + 20 * number, "type": "impulse"}) for number in range(3000)
    ]
    await square.send([*flood, *reports])
    began = time.process_time()
    await square.work()
    assert time.process_time() - began < 10
    found = [each for each in await square.incidents() if each["evidence"] == "position"]
    assert any(distance_m((each["longitude"], each["latitude"]), SHOT) < 30 for each in found)
    assert all(each["crowded"] for each in found)


async def test_what_cannot_be_computed_keeps_nothing_else_of_its_site_waiting(
    square: Square, monkeypatch: pytest.MonkeyPatch
) -> None:
    await square.send(shot(1, ago_s=900.0))
    await square.send(shot(2, ago_s=60.0))
    latest = await square.owner.fetchval("SELECT extract(epoch FROM max(time)) * 1000000 FROM events")

    def fails(heard: Any, settings: Any, *, crowded: bool) -> Any:  # noqa: ANN401 (what found_of takes)
        if any(each.time_us > latest - 60_000_000 for each in heard):
            raise ArithmeticError
        return cluster_events(heard, settings, crowded=crowded)

    monkeypatch.setattr("app.sound_incidents.sound_clustering_worker.cluster_events", fails)
    # What came last is looked at first, and fails.
    await square.work()
    (incident,) = await square.incidents()
    assert incident["evidence"] == "position"
    monkeypatch.undo()
    await square.work()
    assert len(await square.incidents()) == 2
