"""The figures of the running stack, read from the API's `/metrics`."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from pydantic import SecretStr

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)")
_OUTCOME = re.compile(r'(?:^|,)outcome="([^"]*)"')
_PATIENCE = aiohttp.ClientTimeout(total=3)


@dataclass(frozen=True, slots=True)
class Figures:
    """Totals since the roles started; None where nothing of Vigie is exposed."""

    messages: float | None = None
    stored: float | None = None
    duplicates: float | None = None
    quarantined: float | None = None
    firing: float | None = None
    deliveries: Mapping[str, float] = field(default_factory=dict)


def parse(text: str) -> Figures:
    """Sum what is wanted over its labels. Pure; unknown lines are passed over."""
    totals: dict[str, float] = {}
    deliveries: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        try:
            value = float(found["value"])
        except ValueError:
            continue
        name = found["name"]
        totals[name] = totals.get(name, 0.0) + value
        outcome = _OUTCOME.search(found["labels"] or "")
        if name == "vigie_deliveries_total" and outcome is not None:
            deliveries[outcome[1]] += value
    # A counter with labels is exposed from its first event on: until then there was none.
    missing = 0.0 if any(name.startswith("vigie_") for name in totals) else None
    return Figures(
        messages=totals.get("vigie_ingest_messages_total", missing),
        stored=totals.get("vigie_samples_stored_total", missing),
        duplicates=totals.get("vigie_samples_duplicate_total", missing),
        quarantined=totals.get("vigie_quarantined_total", missing),
        firing=totals.get("vigie_alerts_firing", missing),
        deliveries=dict(deliveries),
    )


async def scrape(session: aiohttp.ClientSession, api: str, token: SecretStr | None) -> Figures | None:
    """Ask the API, with the token of its metrics; None when it does not answer (it may be restarting)."""
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        async with session.get(f"{api}/metrics", timeout=_PATIENCE, headers=headers) as response:
            return parse(await response.text()) if response.ok else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def is_ready(session: aiohttp.ClientSession, api: str) -> bool:
    """Tell whether `/readyz` answers 200."""
    try:
        async with session.get(f"{api}/readyz", timeout=_PATIENCE) as response:
            return response.status == 200  # noqa: PLR2004  # the number is the meaning
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
