"""Serves the page of a grant: its recipient reads the offer, accepts the terms, and sees the key once.

The link carries a token, as that of an invitation does: see `link_pages`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request, Response

from app.catalogue.metric_display_names import get_metric_title
from app.grants.recipient_router import accept_offer, limit_offers, read_offer
from app.grants.recipient_schemas import GrantAccept, GrantOffer
from app.grants.router import GRANT_PAGE
from app.pages.grant_texts import FAULTS, WORDS
from app.pages.link_pages import LinkPages, read_token_form, validate_form
from app.pages.page_layout import choose_formatter
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.kernel.errors import UnauthorisedError, VigieError
from app.platform.runtime.stored_settings import InstallationDependency
from app.public_register.register_value_formatter import RegisterFormatter

router: Final = APIRouter(prefix=GRANT_PAGE, include_in_schema=False)
_FIELDS: Final = ("token", "name", "content_hash", "new_key")
_GONE: Final = 410
_PAGES: Final = LinkPages(GRANT_PAGE, "grant.html", WORDS, FAULTS)


@router.get("")
async def show_entry(request: Request) -> Response:
    """Show the page of a link. Its script posts the token; without scripts, the person pastes the link."""
    return _PAGES.show_entry(request)


@router.post("")
async def show_offer(request: Request, database: DatabaseDependency) -> Response:
    """Show what the link of a grant offers."""
    try:
        given = await read_token_form(request, _FIELDS)
        await limit_offers(database, request)
        offer = await read_offer(database, given["token"], datetime.now(UTC))
    except UnauthorisedError:
        return _ended(request)
    except VigieError as error:
        return _PAGES.show_entry(request, error)
    return _show(request, offer, given)


@router.post("/accept")
async def accept_grant(
    request: Request, database: DatabaseDependency, installation: InstallationDependency
) -> Response:
    """Accept a grant, and show its key once. Errors are shown beside the form."""
    given: dict[str, str] = {}
    now = datetime.now(UTC)
    try:
        given = await read_token_form(request, _FIELDS)
        await limit_offers(database, request)
        address = request.client.host if request.client else None
        accepted = await accept_offer(database, given["token"], _parse_acceptance(given), address, now)
    except UnauthorisedError:
        return _ended(request)
    except VigieError as error:
        if not given:
            return _PAGES.show_entry(request, error)
        try:
            offer = await read_offer(database, given["token"], now)
        except UnauthorisedError:
            return _ended(request)
        return _show(request, offer, given, error)
    key = "" if accepted.key is None else accepted.key.key
    return _PAGES.show(
        request,
        "accepted",
        title=choose_formatter(request).translate(WORDS["accepted_title"]),
        status=201,
        key=key,
        command=f"curl {installation.base_url}/v1/grant -H 'Authorization: Bearer {key or 'vgg_…'}'",
    )


def _parse_acceptance(given: Mapping[str, str]) -> GrantAccept:
    fields = {"name": given.get("name", ""), "content_hash": given.get("content_hash", "")}
    return validate_form(GrantAccept, fields | {"new_key": bool(given.get("new_key"))})


def _show(
    request: Request, offer: GrantOffer, given: Mapping[str, str], fault: VigieError | None = None
) -> Response:
    formatter = choose_formatter(request)
    names = {"organisation": offer.organisation, "recipient": offer.recipient}
    lead = "change_lead" if offer.changes else "offer_lead"
    return _PAGES.show(
        request,
        "offer",
        fault,
        title=formatter.fill(WORDS["offer_title"], organisation=offer.organisation),
        lead=formatter.fill(WORDS[lead], **names),
        facts=_list_facts(offer, formatter),
        terms=offer.content.terms,
        content_hash=offer.content_hash,
        terms_changed="terms" in offer.changes,
        recorded=formatter.fill(WORDS["recorded"], organisation=offer.organisation),
        accept=formatter.fill(WORDS["accept"], recipient=offer.recipient),
        has_key=offer.has_key,
        token=given["token"],
        name=given.get("name", ""),
    )


def _list_facts(offer: GrantOffer, formatter: RegisterFormatter) -> list[tuple[str, str, bool]]:
    """List label, value, and whether it differs from what was accepted before."""
    content = offer.content

    def moment(at: datetime) -> str:
        return formatter.fill(WORDS["moment"], day=formatter.day(at), clock=formatter.clock(at))

    begin, end = content.covers_from, content.covers_until
    times = {
        (False, False): "times_all",
        (True, False): "times_from",
        (False, True): "times_until",
        (True, True): "times_between",
    }[begin is not None, end is not None]
    bounds = {"begin": "" if begin is None else moment(begin), "end": "" if end is None else moment(end)}
    cell = WORDS["precision_exact" if content.precision_m is None else "precision_cell"]
    metrics = ", ".join(get_metric_title(name, formatter.language) for name in content.metrics)
    facts = (
        ("purpose", content.purpose, "purpose"),
        ("sites", ", ".join(offer.sites), "site_ids"),
        ("metrics", metrics, "metrics"),
        ("times", formatter.fill(WORDS[times], **bounds), "from until"),
        ("precision", formatter.fill(cell, metres=formatter.number(content.precision_m or 0)), "precision_m"),
        ("valid_until", moment(content.valid_until), "valid_until"),
    )
    return [
        (formatter.translate(WORDS[label]), value, any(each in offer.changes for each in fields.split()))
        for label, value, fields in facts
    ]


def _ended(request: Request) -> Response:
    return _PAGES.show_ended(request, WORDS["ended_title"], WORDS["ended_lead"], _GONE)
