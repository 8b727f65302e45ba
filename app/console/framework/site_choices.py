"""Lists the sites of a person, for filters and forms, and reads those that a form chose."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.form_fields import FormFields

_PAGE_ROWS = 1000


async def list_sites(visit: ConsoleVisit, organisation: str = "") -> Sequence[Mapping[str, Any]]:
    """List the sites of a person, or of one organisation, by name. Without the right to read sites: none."""
    found: list[Mapping[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await visit.api.get_unless_refused(
            "/v1/sites", organisation=organisation, sort="name", limit=_PAGE_ROWS, cursor=cursor
        )
        if page is None:
            return found
        found += page["data"]
        cursor = page["next"]
        if cursor is None:
            return found


def read_site_choice(fields: FormFields) -> list[str] | None:
    """Read the sites that a form limits something to; None: all sites.

    "Only these sites" with none of them is an empty list, which the API refuses.
    """
    return fields.many("site_ids") if fields.one("reach") == "sites" else None


def list_site_options(sites: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """List sites as choices: pairs of id and name."""
    return [(site["id"], site["name"]) for site in sites]
