"""`vigie simulate events`: which boxes report, and the connection they do it through."""

from collections.abc import Sequence

from simulators import events
from simulators.mqtt import MqttLink, linked
from simulators.rest import ApiClient, persistently
from simulators.target import StackTarget, TargetError

_API_PATIENCE_S = 30.0


async def run(
    target: StackTarget, boxes: Sequence[str], *, every_s: float, count: int | None, seed: int | None
) -> int:
    """Publish events through the gateway's account.

    Args:
        target: The stack.
        boxes: Whose events; none names every box that the key sees.
        every_s: Seconds between two, on average.
        count: How many; None until Ctrl-C.
        seed: Makes the events the same on each run.

    Returns:
        The exit code, 0.

    Raises:
        TargetError: There is no box.
    """
    async with ApiClient(target.api, target.key) as api:

        async def every_box() -> list[str]:
            return [str(box["id"]) async for box in api.list("/v1/boxes")]

        names = list(boxes) or await persistently(every_box, give_up_after_s=_API_PATIENCE_S)
    if not names:
        raise TargetError("there is no box: create one, or run `vigie simulate city` first")
    link = MqttLink(target.broker)
    async with linked([link]):
        sent = await events.run(link, names, every_s=every_s, count=count, seed=seed)
    print(f"events: {sent}")
    return 0
