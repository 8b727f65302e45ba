"""Runs the demo city of `vigie up`: sets it up by REST, then publishes by MQTT until it is stopped.

Three sites in Toulouse are simulated live. A site in Aberdeen gets one real day: the measurements of
2019-03-10 are replayed as yesterday's and today's (demo_replay.py), and rules evaluate them in measurement
time. A later start resumes the replay.

The demo survives restarts of the API (calls are retried), of the broker (links reconnect) and of its own
process (it finds its objects again).
"""

import asyncio
import time
from pathlib import Path

from simulators import demo_people, demo_purposes, demo_setup, shot_reports
from simulators.demo_boxes import LiveBox
from simulators.demo_definitions import BOX_PREFIX, DEMO_BOXES, EVENT_SITE
from simulators.demo_replay import CATCH_UP_SPEED, DayReplay
from simulators.demo_state import STATE_FILE, DemoState
from simulators.mqtt_link import keep_connected
from simulators.rest_client import ApiClient, retry_until_reachable
from simulators.sensor_community import RecordedStation, load_archive
from simulators.station_replay import ReplayPace, StationReplay
from simulators.target_stack import TargetStack
from simulators.webhook_receiver import WebhookReceiver

LOOPBACK = "127.0.0.1"
SHIPPED_ARCHIVE = Path(__file__).parent / "data" / "aberdeen"
_EVENT_EVERY_S = 120.0
_SAVE_EVERY_S = 5.0


def print_line(line: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


async def run_demo(
    target: TargetStack, *, replay_speed: float = CATCH_UP_SPEED, receiver_name: str = LOOPBACK
) -> int:
    """Run until cancelled.

    Args:
        target: The stack.
        replay_speed: Measured seconds per second while the replay catches up with the present.
        receiver_name: Name under which `deliver` reaches the receiver of webhooks.

    Returns:
        Never; the type is that of all commands.
    """
    await _Demo(target, replay_speed, receiver_name).run()
    return 0


class _Demo:
    """One run of the demo."""

    def __init__(self, target: TargetStack, replay_speed: float, receiver_name: str) -> None:
        self._target = target
        self._receiver_name = receiver_name
        self._replay_speed = replay_speed
        self._path = target.folder / STATE_FILE
        self._state = DemoState.load(self._path)
        self._passwords = self._state.password_store(self._path)

    async def run(self) -> None:
        stations, _ = load_archive(SHIPPED_ARCHIVE)
        async with ApiClient(self._target.api, self._target.key) as admin:
            await retry_until_reachable(
                lambda: demo_setup.ensure_organisation_and_key(admin, self._state), print_line=print_line
            )
        self._save()
        async with ApiClient(self._target.api, self._state.key) as api:
            await retry_until_reachable(
                lambda: demo_people.ensure_operator(api, self._state), print_line=print_line
            )
        # At once: `vigie up` shows the sign-in, and the rest takes some seconds.
        self._save()
        async with await self._receiver() as receiver, ApiClient(self._target.api, self._state.key) as api:
            await retry_until_reachable(lambda: self._set_up(api, receiver, stations), print_line=print_line)
            self._announce()
            try:
                await self._live(api, stations)
            finally:
                print_line("stopping")

    async def _receiver(self) -> WebhookReceiver:
        """Open a receiver on the port of the last run, or on a free one if that is taken."""
        secret = self._state.secret or None
        # All addresses: in a container `deliver` comes from another one.
        host = LOOPBACK if self._receiver_name == LOOPBACK else "0.0.0.0"  # noqa: S104
        again = WebhookReceiver(
            host=host, port=self._state.receiver_port, secret=secret, print_line=print_line
        )
        try:
            await again.open()
        except OSError:
            again = WebhookReceiver(host=host, secret=secret, print_line=print_line)
        return again

    async def _set_up(
        self, api: ApiClient, receiver: WebhookReceiver, stations: list[RecordedStation]
    ) -> None:
        state = self._state
        created = await demo_setup.ensure_sites_and_boxes(api, state, self._passwords, stations)
        print_line(f"sites: {len(state.site_ids)}, boxes: {len(state.boxes)}, created now: {created}")
        completed = await demo_purposes.complete_environmental_purposes(api, state)
        approved = await demo_purposes.approve_acoustic_safety(api, state)
        print_line(
            f"purposes: {completed} completed now; acoustic safety {'approved now' if approved else 'holds'}"
        )
        made = await demo_setup.ensure_rules(api, state)
        print_line(f"rules: {made} created now")
        url = f"http://{self._receiver_name}:{receiver.port}/"
        await demo_setup.ensure_endpoint(api, state, url)
        receiver.use_secret(state.secret)
        state.receiver_port = receiver.port
        self._save()
        print_line(f"endpoint {state.endpoint_id} sends webhooks to {url}")

    def _announce(self) -> None:
        site = self._state.site_ids["street"]
        print_line(f'"key" in {self._path} is an API key of the demo city; with it as $KEY:')
        for path in (
            f"sites/{site}/latest",
            "alerts?state=firing",
            f"webhooks/{self._state.endpoint_id}/deliveries",
        ):
            print_line(f'  curl -H "Authorization: Bearer $KEY" "{self._target.api}/v1/{path}"')

    async def _live(self, api: ApiClient, stations: list[RecordedStation]) -> None:
        boxes = [LiveBox(api, self._target.broker, definition, self._passwords) for definition in DEMO_BOXES]
        street = [box for box in boxes if box.definition.site == EVENT_SITE]
        links = {box.definition.id: box.link for box in street}
        places = {box.definition.id: (box.definition.longitude, box.definition.latitude) for box in street}
        async with keep_connected([box.link for box in boxes], wait_s=None), asyncio.TaskGroup() as group:
            for box in boxes:
                group.create_task(box.live())
            group.create_task(shot_reports.simulate_shots(links, places, every_s=_EVENT_EVERY_S))
            group.create_task(self._replay(api, stations))
            print_line(f"{len(boxes)} synthetic boxes are live")

    async def _replay(self, api: ApiClient, stations: list[RecordedStation]) -> None:
        replay = StationReplay(
            api,
            self._target.broker,
            stations,
            BOX_PREFIX,
            self._passwords,
            ReplayPace(batch=1),
            connect_s=None,
            reached=self._state.replayed,
        )
        saving = asyncio.create_task(self._save_now_and_then())
        try:
            await DayReplay(replay, self._replay_speed, print_line).run()
        finally:
            saving.cancel()
            self._save()

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            self._save()

    def _save(self) -> None:
        self._state.save(self._path)
