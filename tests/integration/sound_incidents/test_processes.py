"""The maintain role as a process, killed while boxes report, and what receivers get of it."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path

from standardwebhooks import Webhook

from simulators.shot_reports import distance_m
from tests.integration.notifications.receivers import receiving, status
from tests.integration.sound_incidents.square import SHOT, Square, shot
from tests.scenarios.processes import RoleProcess, role, until

_KILLS = 2


async def test_killed_again_and_again_it_tells_each_version_once(square: Square, tmp_path: Path) -> None:
    maintain = RoleProcess("maintain", tmp_path / "maintain.log")
    async with receiving(status(204)) as receiver, role("deliver", tmp_path):
        body = {"url": receiver.url, "events": ["incident.detected", "incident.updated"]}
        made = (await square.tenant.client.post("/v1/webhooks", json=body)).raise_for_status().json()
        for number in range(_KILLS):
            # Something is to be told before the crash.
            await maintain.start(VIGIE_INCIDENTS__GATHER_S="0")
            reports = shot(number, ago_s=600.0 - 60 * number)
            # Some of it comes before the crash, the rest while nobody works.
            await square.send(reports[:3])

            async def detected(before: int = number) -> bool:
                return sum(kind == "incident.detected" for kind, _ in await square.told()) > before

            await until(detected)
            await asyncio.sleep(0.15 * number)
            await maintain.kill()
            await square.send(reports[3:])
        await maintain.start()

        async def located() -> bool:
            found = [each for each in await square.incidents() if each["verified"] and not each["untold"]]
            return len(found) == _KILLS

        await until(located, patience_s=60)
        assert await maintain.terminate() == 0
        told = await square.told()
        got = await receiver.wait(len(told))
    for each in await square.incidents():
        assert distance_m((each["longitude"], each["latitude"]), SHOT) < 6
    sequences: dict[str, list[int]] = defaultdict(list)
    for kind, payload in told:
        assert (kind == "incident.detected") == (payload["sequence"] == 1)
        sequences[payload["incident_id"]].append(payload["sequence"])
    assert len(sequences) == _KILLS
    assert all(each == list(range(1, len(each) + 1)) for each in sequences.values())
    for message in got:
        Webhook(made["secret"]).verify(message.body, message.headers)
    told_of = {(body["type"], body["data"]["sequence"]) for body in (json.loads(each.body) for each in got)}
    assert told_of >= {("incident.detected", 1), ("incident.updated", 2)}


async def test_each_shot_is_told_before_the_next_one(square: Square, tmp_path: Path) -> None:
    async with role("maintain", tmp_path):
        heartbeat = "SELECT count(*) FROM heartbeats WHERE role = 'maintain' AND state = 'working'"

        async def works() -> bool:
            return bool(await square.owner.fetchval(heartbeat))

        await until(works, patience_s=60)
        for number in range(3):
            await square.send(shot(number, ago_s=900.0 - 60 * number))

            async def told(there: int = number) -> bool:
                return len(await square.told()) > there

            await until(told)
