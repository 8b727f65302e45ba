"""Reads webhooks and channels as the recipients that pages name."""

import re
from collections.abc import Mapping
from typing import Any, Final

from app.console.framework.console_visit import ConsoleVisit

_MOST: Final = 200
# Summaries name mailboxes in English and without their addresses, which are personal data.
_MAILBOXES: Final = re.compile(r"(\d+) recipients? at (.+)")


async def complete_recipients(visit: ConsoleVisit, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add whole URLs of webhooks to summaries of endpoints, and name mailboxes in the person's language."""
    webhooks = None
    if any(each["kind"] == "webhook" for each in summaries):
        webhooks = await visit.api.get_unless_refused("/v1/webhooks", limit=_MOST)
    urls = {each["id"]: each["url"] for each in webhooks["data"]} if webhooks else {}
    return [
        {**each, "target": _name_mailboxes(visit, each["target"]), "url": urls.get(each["id"], "")}
        for each in summaries
    ]


def _name_mailboxes(visit: ConsoleVisit, target: str | None) -> str | None:
    found = _MAILBOXES.fullmatch(target or "")
    if found is None:
        return target
    addresses = visit.texts.n(int(found[1]), "{} mail address", "{} mail addresses")
    return f"{addresses} ({found[2]})"


async def read_recipients(visit: ConsoleVisit) -> dict[str, Mapping[str, Any]] | None:
    """Read webhooks and channels by id; None for a person who may not."""
    page = await visit.api.get_unless_refused("/v1/endpoints", limit=_MOST)
    if page is None:
        return None
    return {each["id"]: each for each in await complete_recipients(visit, page["data"])}
