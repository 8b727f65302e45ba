"""Renders the pages of the administration, which share a menu."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Response

from app.console.administration import administration_words
from app.console.administration.administration_words import PARTS, AdministrationPart
from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.page_rendering import render_console_page
from app.platform.identity.session_cookie import CONSOLE_PATH

ADMINISTRATION_PATH: Final = f"{CONSOLE_PATH}/administration"
PAGE_ROWS: Final = 50
"""Rows of a page of a list."""
_CLIENT: Final = "client"


def list_parts(visit: ConsoleVisit) -> list[AdministrationPart]:
    """List the pages of the administration that a person may open."""
    return [part for part in PARTS if may_open(visit, part)]


def may_open(visit: ConsoleVisit, part: AdministrationPart) -> bool:
    """Return whether a person may open a page of the administration."""
    if part.scope == "platform":
        return bool(visit.me["platform"])
    return visit.can(part.scope)


def render_administration(
    visit: ConsoleVisit,
    template: str,
    *,
    title: str,
    part: str,
    status: int = 200,
    **more: Any,  # noqa: ANN401 (whatever the template takes)
) -> Response:
    """Render a page of the administration.

    Args:
        visit: The visit.
        template: The name of the template.
        title: The title, in the person's language.
        part: The name of the part that the page belongs to.
        status: The status of the response.
        **more: Further variables of the template.
    """
    return render_console_page(
        visit,
        template,
        title=title,
        section="administration",
        status=status,
        part=part,
        parts=list_parts(visit),
        words=administration_words,
        may_manage_others=visit.me["organisation"]["kind"] != _CLIENT,
        **more,
    )


async def list_organisations(visit: ConsoleVisit) -> list[Mapping[str, Any]]:
    """List the organisations that a person may manage: their own, and those below it."""
    own = visit.me["organisation"]
    if own["kind"] == _CLIENT:
        return [own]
    page = await visit.api.get("/v1/organisations", limit=1000, sort="name")
    found: list[Mapping[str, Any]] = page["data"]
    return found


def map_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Map ids to names."""
    return {row["id"]: row["name"] for row in rows}
