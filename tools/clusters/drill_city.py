"""Makes the sites, boxes, rules and the webhook of the kill drill, moves boxes, and reads the API."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import aiohttp

from app.message_log.partitions import find_site_partition
from simulators.rest_client import ApiClient, retry_until_reachable
from tools.clusters.box_load import BoxLedger, BoxLoad, BoxMove
from tools.clusters.city_cluster import CityCluster
from tools.clusters.expected_alerts import RULES, STOP_RULE
from tools.rehearsals.webhook_ledger import WebhookLedger

_SITES: Final = 12
_BOXES_PER_SITE: Final = 4
_MOBILE_BOXES: Final = 4
_SITE: Final = {
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6045]},
}
_MOVE_S: Final = 120.0


@dataclass(frozen=True)
class DrillCity:
    """The sites and boxes of the drill.

    Attributes:
        key: An API key.
        sites: The ids of the sites.
        ledgers: The boxes.
    """

    key: str
    sites: Sequence[str]
    ledgers: Sequence[BoxLedger]

    @property
    def mobile(self) -> list[BoxLedger]:
        """The boxes that move between sites."""
        return [ledger for ledger in self.ledgers if ledger.is_mobile]


def _make_ledgers(sites: Sequence[str]) -> list[BoxLedger]:
    """Make the boxes: four of each site, one of which stops in each case, and some that move."""
    ledgers = [
        # The box that stops is another one at each site, so that it shares its connection with others.
        BoxLedger(
            f"drill-{place}-{number}", place * _BOXES_PER_SITE + number, site, stops=number == place % 4
        )
        for place, site in enumerate(sites)
        for number in range(_BOXES_PER_SITE)
    ]
    for number in range(_MOBILE_BOXES):
        site = sites[number * len(sites) // _MOBILE_BOXES]
        ledgers.append(BoxLedger(f"drill-mobile-{number}", len(ledgers), site, is_mobile=True))
    return ledgers


def build_rules(sites: Sequence[str], ledgers: Sequence[BoxLedger]) -> list[dict[str, Any]]:
    """Return the bodies that create the rules of the sites."""
    bodies = []
    for site in sites:
        stopping = [ledger.box for ledger in ledgers if ledger.stops and ledger.site == site]
        for name, rule in RULES.items():
            body = {"site_id": site, "name": name, **rule}
            if "levels" not in rule:
                body["severity"] = "warning"
            if name == STOP_RULE:
                body["scope"] = {"boxes": stopping}
            bodies.append(body)
    return bodies


async def make_city(cluster: CityCluster, webhooks: WebhookLedger) -> DrillCity:
    """Create an organisation with sites, boxes, rules and a webhook."""
    async with ApiClient(cluster.api, cluster.secrets.admin_key, timeout_s=60.0) as admin:
        organisation = str((await admin.post("/v1/organisations", {"name": "Drill"}))["id"])
        wanted = {"organisation_id": organisation, "name": "drill", "scopes": ["*"]}
        key = str((await admin.post("/v1/api-keys", wanted))["key"])
    async with ApiClient(cluster.api, key, timeout_s=60.0) as client:
        sites = [
            str((await client.post("/v1/sites", {**_SITE, "name": f"Site {number}"}))["id"])
            for number in range(_SITES)
        ]
        ledgers = _make_ledgers(sites)
        listed = [{"id": each.box, "site_id": each.site, "ack": True} for each in ledgers]
        await client.post("/v1/boxes/bulk", {"boxes": listed})
        for rule in build_rules(sites, ledgers):
            await client.post("/v1/rules", rule)
        webhook = await client.post("/v1/webhooks", {"url": webhooks.url, "events": ["*"]})
        webhooks.use_secret(str(webhook["secret"]))
    return DrillCity(key, sites, ledgers)


async def move_boxes(cluster: CityCluster, city: DrillCity) -> None:
    """Move each mobile box to a site in another partition, by the API; repeats until it answers.

    Raises:
        UnreachableError: The API does not answer within two minutes.
    """
    async with ApiClient(cluster.api, city.key, timeout_s=10.0) as client:
        for ledger in city.mobile:
            (former,) = ledger.find_sites(ledger.sent)
            site = _find_next_site(city.sites, former, cluster.partitions)
            first_open = ledger.first_open
            await retry_until_reachable(
                lambda box=ledger.box, site=site: client.patch(f"/v1/boxes/{box}", {"site_id": site}),  # type: ignore[misc]  # defaults bind the loop's values
                give_up_after_s=_MOVE_S,
                print_line=lambda _: None,
            )
            ledger.moves.append(BoxMove(former, site, first_open, ledger.sent))


def _find_next_site(sites: Sequence[str], former: str, partitions: int) -> str:
    place = sites.index(former)
    following = [*sites[place + 1 :], *sites[:place]]
    return next(
        (site for site in following if _partition(site, partitions) != _partition(former, partitions)),
        following[0],
    )


def _partition(site: str, partitions: int) -> int:
    return find_site_partition(UUID(site), partitions)


class HttpReads:
    """Reads the API through haproxy five times a second, and counts failures.

    Attributes:
        calls: All reads.
        failed: Those without an answer of 200.
        longest_outage_s: The longest time from a failed read until one succeeded.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self.calls = 0
        self.failed = 0
        self.longest_outage_s = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read for the length of a block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        timeout = aiohttp.ClientTimeout(total=5)
        # A connection for each read, as many different clients have.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
            failing_since: float | None = None
            while True:
                began = time.monotonic()
                self.calls += 1
                if await self._is_served(session):
                    failing_since = None
                else:
                    self.failed += 1
                    failing_since = failing_since or began
                    self.longest_outage_s = max(self.longest_outage_s, time.monotonic() - failing_since)
                await asyncio.sleep(0.2)

    async def _is_served(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(self._url) as answer:
                return answer.status == 200  # noqa: PLR2004
        except (aiohttp.ClientError, TimeoutError):
            return False


class ClusterUnderLoad:
    """A cluster at work, as a drill sees it.

    Args:
        cluster: The cluster.
        city: Its sites and boxes.
        load: The boxes at work.
        webhooks: The receiver.
        reads: Reads of the API.
    """

    def __init__(
        self,
        cluster: CityCluster,
        city: DrillCity,
        load: BoxLoad,
        webhooks: WebhookLedger,
        reads: HttpReads,
    ) -> None:
        self._cluster = cluster
        self._city = city
        self._load = load
        self._webhooks = webhooks
        self._reads = reads
