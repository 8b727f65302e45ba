"""The pages by which people use their rights: forms that work without scripts, in English and French.

Owns how a form's fields become a request. What a request is, and how often one may make it, is said in
`app.privacy_requests.public_requests`. Nothing of an answer is kept by anybody in between.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from app.platform.config.settings import VigieSettings
from app.platform.http.contract.body_scanner import check_body
from app.platform.http.contract.forms import read_form
from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.strict_body import ANONYMOUS_BODY_MAX
from app.platform.kernel.errors import InvalidError, VigieError
from app.platform.kernel.instants import check_range, from_datetime
from app.platform.kernel.rejection_codes import RejectedError
from app.privacy_requests import public_requests
from app.privacy_requests.request_texts import FAULTS, KINDS, OUTCOMES, STATES, WORDS
from app.privacy_requests.schemas import RightsAsk, RightsRequestCreate, RightsRequestMade, RightsStatus
from app.public_register.context import Context, RegisterContext
from app.public_register.page_frame import PageContext, build_page_csp, negotiate_language, render_page
from app.public_register.register_formats import RegisterFormatter

PATH: Final = "/public/requests"
router: Final = APIRouter(prefix=PATH, include_in_schema=False)
TEMPLATES: Final = Path(__file__).parent / "templates"
_FIELDS: Final = (
    "site_id",
    "kind",
    "message",
    "begins_at",
    "ends_at",
    "name",
    "contact",
    "reference",
    "token",
)


class _Shown(NamedTuple):
    """What a page shows besides its forms: one of these, or none."""

    made: RightsRequestMade | None = None
    status: RightsStatus | None = None
    fault: VigieError | None = None


_NOTHING: Final = _Shown()


def _instant(text: str, zone: ZoneInfo) -> datetime | None:
    """What a field for a time holds, by the clock of the place; None where it is empty (ValueError)."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
        # The calendar ends before some clocks do; and a body's times have the same range.
        check_range(from_datetime(found))
    except (OverflowError, RejectedError) as error:
        raise ValueError(text) from error
    return found


def _request(given: Mapping[str, str], zones: Mapping[str, ZoneInfo], language: str) -> RightsRequestCreate:
    """A form's request (InvalidError with the code of its first fault)."""
    # Bodies of REST are guarded where they are read; forms come another way.
    check_body(dict(given))
    zone = zones.get(given.get("site_id", ""), ZoneInfo("UTC"))
    try:
        fields: dict[str, Any] = {
            "kind": given.get("kind"),
            "message": given.get("message", ""),
            "site_id": given.get("site_id") or None,
            "name": given.get("name") or None,
            "contact": given.get("contact") or None,
            "begins_at": _instant(given.get("begins_at", ""), zone),
            "ends_at": _instant(given.get("ends_at", ""), zone),
            "language": language,
        }
        return RightsRequestCreate.model_validate(fields)
    except ValidationError as error:
        raise InvalidError("A field cannot be taken.", code=get_field_error_code(error.errors()[0])) from None
    except ValueError:
        raise InvalidError("A time cannot be read.", code="invalid_time") from None


def _page(
    request: Request,
    context: RegisterContext,
    sites: Sequence[tuple[UUID, str]],
    given: Mapping[str, str],
    shown: _Shown = _NOTHING,
) -> Response:
    """The page, which nobody may keep."""
    settings: VigieSettings = request.app.state.settings
    language = negotiate_language(
        request.query_params.get("lang"), request.headers.get("accept-language", "")
    )
    formatter = RegisterFormatter(language)
    frame = PageContext(formatter, datetime.now(UTC), context.tiles)
    fault = None if shown.fault is None else FAULTS.get(shown.fault.code, FAULTS[""])
    body = render_page(
        "requests.html",
        frame,
        folder=TEMPLATES,
        title=formatter.translate(WORDS["title"]),
        path=PATH,
        words={key: formatter.translate(text) for key, text in WORDS.items()},
        lang=language,
        kinds=[(key, formatter.translate(text)) for key, text in KINDS.items()],
        sites=[{"id": str(key), "name": name} for key, name in sites],
        given={name: given.get(name, "") for name in _FIELDS},
        kept=formatter.fill(WORDS["kept"], days=formatter.number(settings.rights.keep_days)),
        fault=None if fault is None else formatter.translate(fault),
        taken=None if shown.made is None else _made(shown.made, formatter),
        status=None if shown.status is None else _status(shown.status, formatter),
    )
    headers = {
        "Content-Security-Policy": build_page_csp(context.tiles),
        "Content-Language": language,
        # The token is on it.
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
    }
    status = 200 if shown.fault is None else shown.fault.status
    return Response(body, 201 if shown.made else status, headers, media_type="text/html; charset=utf-8")


def _made(made: RightsRequestMade, formatter: RegisterFormatter) -> dict[str, str]:
    return {"reference": made.reference, "token": made.token, "due": formatter.day(made.due_at)}


def _status(status: RightsStatus, formatter: RegisterFormatter) -> dict[str, Any]:
    """How far a request is, as rows of what is told."""
    told = {
        "kind": formatter.translate(KINDS[status.kind]),
        "state": formatter.translate(STATES[status.state]),
        "received": formatter.day(status.received_at),
        "due": None if status.closed_at else formatter.day(status.due_at),
        "extension": status.extension_reason,
        "closed": formatter.day(status.closed_at) if status.closed_at else None,
        "outcome": formatter.translate(OUTCOMES[status.outcome]) if status.outcome else None,
    }
    return {
        "reference": status.reference,
        "open": status.closed_at is None,
        "answer": status.answer,
        "facts": [(formatter.translate(WORDS[key]), value) for key, value in told.items() if value],
    }


async def _sites(context: RegisterContext) -> tuple[list[tuple[UUID, str]], dict[str, ZoneInfo]]:
    """The sites of the register by name, and their clocks by id."""
    register = await context.register()
    sites = [(site.id, site.name) for site in register.sites.values()]
    return sites, {str(site.id): ZoneInfo(site.timezone) for site in register.sites.values()}


def _host(request: Request) -> str | None:
    return request.client.host if request.client else None


@router.get("")
async def show_form(request: Request, context: Context) -> Response:
    """The forms; `?site=` names the site that is chosen."""
    sites, _ = await _sites(context)
    return _page(request, context, sites, {"site_id": request.query_params.get("site", "")[:64]})


@router.post("")
async def send_request(request: Request, context: Context) -> Response:
    """Take a request; what is wrong with it is told on the page, with all that was written."""
    sites, zones = await _sites(context)
    state = request.app.state
    given: dict[str, str] = {}
    try:
        given = await read_form(request, _FIELDS, most=ANONYMOUS_BODY_MAX)
        language = negotiate_language(request.query_params.get("lang"), "")
        body = _request(given, zones, language)
        made = await public_requests.submit_request(state.database, body, state.settings, host=_host(request))
    except VigieError as error:
        return _page(request, context, sites, given, _Shown(fault=error))
    return _page(request, context, sites, {}, _Shown(made=made))


@router.post("/status")
async def show_status(request: Request, context: Context) -> Response:
    """Show how far a request is to who has its token."""
    return await _own(request, context, public_requests.read_request_status)


@router.post("/withdraw")
async def withdraw_request(request: Request, context: Context) -> Response:
    """End a request for who has its token."""
    return await _own(request, context, public_requests.withdraw_own_request)


async def _own(
    request: Request, context: RegisterContext, door: public_requests.OwnRequestAction
) -> Response:
    sites, _ = await _sites(context)
    state = request.app.state
    given: dict[str, str] = {}
    try:
        given = await read_form(request, _FIELDS, most=ANONYMOUS_BODY_MAX)
        asked = RightsAsk(reference=given.get("reference", "")[:32], token=given.get("token", "")[:128])
        status = await door(state.database, asked, state.settings, host=_host(request))
    except ValidationError:
        fault = InvalidError("Reference and token are both needed.", code="not_found")
        return _page(request, context, sites, given, _Shown(fault=fault))
    except VigieError as error:
        return _page(request, context, sites, given, _Shown(fault=error))
    return _page(request, context, sites, given, _Shown(status=status))
