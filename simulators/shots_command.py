"""`vigie simulate shots`: simulates shots at a site, reported by its boxes."""

from dataclasses import dataclass

from simulators import shot_reports
from simulators.mqtt_link import MqttLink, keep_connected
from simulators.rest_client import ApiClient, retry_until_reachable
from simulators.shot_reports import LonLat
from simulators.target_stack import TargetError, TargetStack

_API_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class ShotsOptions:
    """The options of one run; the arguments of `shot_reports.simulate_shots`."""

    every_s: float
    count: int | None
    seed: int | None
    place: LonLat | None
    source: str | None
    rounds: int | None


async def run_shots(target: TargetStack, site: str, options: ShotsOptions) -> int:
    """Simulate shots at a site, and publish its boxes' reports through the gateway's account.

    Args:
        target: The stack.
        site: The site's id.
        options: The options of the run.

    Returns:
        The exit code, 0.

    Raises:
        TargetError: No box of the site has a location.
    """
    async with ApiClient(target.api, target.key) as api:

        async def placed() -> dict[str, LonLat]:
            boxes = [box async for box in api.list("/v1/boxes", site=site)]
            located = [box for box in boxes if box["location"] is not None]
            return {str(box["id"]): tuple(box["location"]["coordinates"][:2]) for box in located}

        boxes = await retry_until_reachable(placed, give_up_after_s=_API_PATIENCE_S)
    if not boxes:
        raise TargetError("no box of the site has a location: set one, so that distances are known")
    link = MqttLink(target.broker)
    async with keep_connected([link]):
        done = await shot_reports.simulate_shots(
            dict.fromkeys(boxes, link),
            boxes,
            every_s=options.every_s,
            count=options.count,
            seed=options.seed,
            place=options.place,
            source=options.source,
            rounds=options.rounds,
        )
    print(f"shots: {done}")
    return 0
