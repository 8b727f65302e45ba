"""Serves the forms by which people submit and track GDPR rights requests, in English and French.

The forms work without scripts. Responses are never cached, because they contain tokens. The rules and rate
limits are in `app.privacy_requests.public_requests`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from app.platform.db.database import Database
from app.platform.http.contract.forbidden_content_check import check_body
from app.platform.http.contract.html_forms import read_form
from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.strict_body import ANONYMOUS_BODY_MAX
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import InvalidError, VigieError
from app.platform.kernel.instants import check_range, from_datetime
from app.platform.kernel.rejection_codes import RejectedError
from app.privacy_requests import public_requests
from app.privacy_requests.request_texts import FAULTS, KINDS, OUTCOMES, STATES, WORDS
from app.privacy_requests.schemas import RightsAsk, RightsRequestCreate, RightsRequestMade, RightsStatus
from app.privacy_requests.settings import RightsSettings
from app.public_register.page_rendering import (
    PageContext,
    build_page_csp,
    negotiate_language,
    render_page,
)
from app.public_register.register_context import Context, RegisterContext
from app.public_register.register_value_formatter import RegisterFormatter

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


class _PageResult(NamedTuple):
    """The result of a submitted form: one of these, or none."""

    made: RightsRequestMade | None = None
    status: RightsStatus | None = None
    fault: VigieError | None = None


_NO_RESULT: Final = _PageResult()


def _parse_local_time(text: str, zone: ZoneInfo) -> datetime | None:
    """Parse a local time of a form field; None: the field is empty.

    Raises:
        ValueError: The text is no time, or it is out of range.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
        # `astimezone` can leave the calendar (OverflowError); times of JSON bodies have the same range.
        check_range(from_datetime(found))
    except (OverflowError, RejectedError) as error:
        raise ValueError(text) from error
    return found


def _parse_request(
    form: Mapping[str, str], zones: Mapping[str, ZoneInfo], language: str
) -> RightsRequestCreate:
    """Validate the fields of a form.

    Raises:
        InvalidError: With the code of the first invalid field.
    """
    # REST routes scan JSON bodies for forbidden content; forms have to be scanned here.
    check_body(dict(form))
    zone = zones.get(form.get("site_id", ""), ZoneInfo("UTC"))
    try:
        fields: dict[str, Any] = {
            "kind": form.get("kind"),
            "message": form.get("message", ""),
            "site_id": form.get("site_id") or None,
            "name": form.get("name") or None,
            "contact": form.get("contact") or None,
            "begins_at": _parse_local_time(form.get("begins_at", ""), zone),
            "ends_at": _parse_local_time(form.get("ends_at", ""), zone),
            "language": language,
        }
        return RightsRequestCreate.model_validate(fields)
    except ValidationError as error:
        raise InvalidError("A field is invalid.", code=get_field_error_code(error.errors()[0])) from None
    except ValueError:
        raise InvalidError("A time is invalid.", code="invalid_time") from None


def _page(
    request: Request,
    context: RegisterContext,
    sites: Sequence[tuple[UUID, str]],
    given: Mapping[str, str],
    result: _PageResult = _NO_RESULT,
) -> Response:
    """Render the page. No cache may store it, because it can contain a token."""
    language = negotiate_language(
        request.query_params.get("lang"), request.headers.get("accept-language", "")
    )
    formatter = RegisterFormatter(language)
    frame = PageContext(formatter, datetime.now(UTC), context.tiles)
    keep_days = get_resource(request.app, RightsSettings).keep_days
    fault = None if result.fault is None else FAULTS.get(result.fault.code, FAULTS[""])
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
        retention=formatter.fill(WORDS["retention"], days=formatter.number(keep_days)),
        fault=None if fault is None else formatter.translate(fault),
        taken=None if result.made is None else _made(result.made, formatter),
        status=None if result.status is None else _status(result.status, formatter),
    )
    headers = {
        "Content-Security-Policy": build_page_csp(context.tiles),
        "Content-Language": language,
        # The page contains the token.
        "Cache-Control": "no-store",
    }
    status = 200 if result.fault is None else result.fault.status
    return Response(body, 201 if result.made else status, headers, media_type="text/html; charset=utf-8")


def _made(made: RightsRequestMade, formatter: RegisterFormatter) -> dict[str, str]:
    return {"reference": made.reference, "token": made.token, "due": formatter.day(made.due_at)}


def _status(status: RightsStatus, formatter: RegisterFormatter) -> dict[str, Any]:
    """Build the template variables of a request's status."""
    facts = {
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
        "facts": [(formatter.translate(WORDS[key]), value) for key, value in facts.items() if value],
    }


async def _sites(context: RegisterContext) -> tuple[list[tuple[UUID, str]], dict[str, ZoneInfo]]:
    """Return id and name of the sites in the register, and their time zones by id."""
    register = await context.register()
    sites = [(site.id, site.name) for site in register.sites.values()]
    return sites, {str(site.id): ZoneInfo(site.timezone) for site in register.sites.values()}


@router.get("")
async def show_form(request: Request, context: Context) -> Response:
    """Show the forms. `?site=` selects a site."""
    sites, _ = await _sites(context)
    return _page(request, context, sites, {"site_id": request.query_params.get("site", "")[:64]})


@router.post("")
async def send_request(request: Request, context: Context) -> Response:
    """Submit a request. If it is refused, the page shows the reason and the filled-in form."""
    sites, zones = await _sites(context)
    given: dict[str, str] = {}
    try:
        given = await read_form(request, _FIELDS, most=ANONYMOUS_BODY_MAX)
        language = negotiate_language(request.query_params.get("lang"), "")
        body = _parse_request(given, zones, language)
        host = public_requests.get_client_host(request)
        database, settings = get_resource(request.app, Database), get_resource(request.app, RightsSettings)
        made = await public_requests.submit_request(database, body, settings, host=host)
    except VigieError as error:
        return _page(request, context, sites, given, _PageResult(fault=error))
    return _page(request, context, sites, {}, _PageResult(made=made))


@router.post("/status")
async def show_status(request: Request, context: Context) -> Response:
    """Show the status of a request to its requester."""
    return await _act_on_own_request(request, context, public_requests.read_request_status)


@router.post("/withdraw")
async def withdraw_request(request: Request, context: Context) -> Response:
    """Withdraw a request on behalf of its requester."""
    return await _act_on_own_request(request, context, public_requests.withdraw_own_request)


async def _act_on_own_request(
    request: Request, context: RegisterContext, action: public_requests.OwnRequestAction
) -> Response:
    sites, _ = await _sites(context)
    given: dict[str, str] = {}
    try:
        given = await read_form(request, _FIELDS, most=ANONYMOUS_BODY_MAX)
        credentials = RightsAsk(reference=given.get("reference", "")[:32], token=given.get("token", "")[:128])
        host = public_requests.get_client_host(request)
        database, settings = get_resource(request.app, Database), get_resource(request.app, RightsSettings)
        status = await action(database, credentials, settings, host=host)
    except ValidationError:
        fault = InvalidError("Give the reference and the token.", code="not_found")
        return _page(request, context, sites, given, _PageResult(fault=fault))
    except VigieError as error:
        return _page(request, context, sites, given, _PageResult(fault=error))
    return _page(request, context, sites, given, _PageResult(status=status))
