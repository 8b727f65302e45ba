"""From what alerts tell to what endpoints are sent, at times that a test chooses; nothing goes out."""

import json
from typing import Any

from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.waiting_groups import send_due_groups
from app.notifications.settings import WebhookSettings
from tests.integration.alerts.helpers import AlertStreet
from tests.integration.notifications.helpers import add_endpoint

URL = "https://example.com/"
# Long: what a slow machine adds is little of it.
GROUPING = {"by": ["site", "rule"], "wait": "PT10M", "interval": "PT50M"}


class Postman:
    """Sends what a street tells to its endpoints, at times that the test chooses."""

    def __init__(self, street: AlertStreet, settings: WebhookSettings) -> None:
        self.street = street
        self.connection = street.connection
        self.settings = settings

    async def endpoint(self, grouping: dict[str, Any] | None = None, **other: Any) -> Any:  # noqa: ANN401 (an id)
        """An endpoint with the usual grouping, or another one."""
        organisation = self.street.organisation_id
        endpoint, _ = await add_endpoint(
            self.connection, organisation, URL, grouping=GROUPING if grouping is None else grouping, **other
        )
        return endpoint

    async def gather(self) -> None:
        """What happened waits in its groups, or is a delivery."""
        while await fan_out_events(self.connection, self.settings):
            pass

    async def send(self) -> None:
        """Wait until all groups are due, and send them."""
        await self.gather()
        await self.connection.execute(
            "UPDATE delivery_groups SET due_at = due_at - interval '1 hour', "
            "idle_until = idle_until - interval '1 hour'"
        )
        await send_due_groups(self.connection, self.settings)

    async def got(self, endpoint: Any = None) -> list[tuple[str, ...]]:  # noqa: ANN401 (an id)
        """The types of the events of each delivery, the oldest first."""
        rows = await self.connection.fetch(
            "SELECT type, body FROM deliveries WHERE endpoint_id = coalesce($1, endpoint_id) "
            "ORDER BY created_at, id",
            endpoint,
        )
        return [_types(row["type"], json.loads(row["body"])) for row in rows]

    async def waiting(self) -> int:
        count: int = await self.connection.fetchval("SELECT count(*) FROM group_events")
        return count


def _types(kind: str, body: dict[str, Any]) -> tuple[str, ...]:
    events = [one["type"] for one in body["data"]["events"]] if kind == "alert.group" else [kind]
    return tuple(each.removeprefix("alert.") for each in events)
