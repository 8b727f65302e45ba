"""From events in the pipeline to incidents and what is told of them, under the roles of the processes."""

from simulators.shots import apart_m
from tests.integration.incidents.square import SHOT, Square, shot


async def test_a_shot_that_six_boxes_heard_has_a_place(square: Square) -> None:
    await square.send(shot())
    await square.work()
    (incident,) = await square.incidents()
    assert (incident["state"], incident["evidence"], incident["verified"]) == ("open", "position", True)
    assert apart_m((incident["longitude"], incident["latitude"]), SHOT) < 5
    assert incident["boxes"] == sorted(f"square-{n}" for n in range(1, 7))
    ((kind, told),) = await square.told()
    assert kind == "incident.detected"
    assert (told["incident_id"], told["sequence"]) == (str(incident["id"]), 1)
    assert await square.owner.fetchval("SELECT count(*) FROM incident_marks") == 0
