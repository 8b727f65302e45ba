"""Turns results of a search into links to pages of the console. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from app.console.framework.page_translation import PageTranslator, mark_text
from app.platform.identity.session_cookie import CONSOLE_PATH

_PLACES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "site": ("sites", mark_text("Site")),
        "box": ("boxes", mark_text("Box")),
        "alert": ("alerts", mark_text("Alert")),
        "rule": ("rules", mark_text("Rule")),
        "incident": ("incidents", mark_text("Incident")),
    }
)


def build_search_results(found: Sequence[Mapping[str, Any]], texts: PageTranslator) -> list[dict[str, str]]:
    """Build the entries that a list of results shows.

    Args:
        found: The results of `GET /v1/search`.
        texts: The language.

    Returns:
        `href`, `kind` in words, `title` and `subtitle` of each.
    """
    title = "title_fr" if texts.formatter.language == "fr" else "title"
    return [
        {
            "href": f"{CONSOLE_PATH}/{_PLACES[each['kind']][0]}/{quote(each['id'], safe='')}",
            "kind": texts.t(_PLACES[each["kind"]][1]),
            "title": each[title],
            "subtitle": each["subtitle"] or "",
        }
        for each in found
    ]
