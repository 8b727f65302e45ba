"""Serves the pages of invitations and password resets.

Links carry the token in the fragment (`#…`), which browsers do not send. A script, or the person, posts it as
a form. The token is the only credential: there is no session cookie that another site's form could misuse
(CSRF).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from app.pages.invitation_and_reset_texts import ENDED, FAULTS, ROLES, WORDS
from app.pages.page_layout import (
    HTML_MEDIA_TYPE,
    build_page_headers,
    choose_formatter,
    read_root_path,
    render_layout,
)
from app.people import invitation_acceptance, oidc_router, password_service
from app.people.invitation_acceptance import InvitationPreview
from app.people.password_rules import PASSWORD_MAX_LENGTH
from app.people.password_verification import TokenRefusedError
from app.people.schemas import InvitationAccept, PasswordReset, SessionCreated
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import WELCOME, PeopleContext, PeopleDependency
from app.platform.http.contract.forbidden_content_check import check_body
from app.platform.http.contract.html_forms import read_form
from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.strict_body import ANONYMOUS_BODY_MAX
from app.platform.kernel.errors import InvalidError, VigieError
from app.public_register.register_value_formatter import RegisterFormatter

router: Final = APIRouter(prefix=WELCOME, include_in_schema=False)
_FIELDS: Final = ("token", "name", "password", "current_password", "factor_code")
_FACTOR_CODE_FAULTS: Final = frozenset({"second_factor_code_needed", "wrong_second_factor"})
_TOTP_DIGITS: Final = 6
_PASSWORDS: Final = ("password", "current_password")
_NOT_FOUND: Final = 404
_GONE: Final = 410
_BUSY: Final = frozenset({429, 500, 503})


@router.get("")
async def show_entry(request: Request) -> Response:
    """Show the page of a link. Its script posts the token; without scripts, the person pastes the link."""
    formatter = choose_formatter(request)
    return _page(request, "enter", title=formatter.translate(WORDS["enter_title"]))


@router.post("")
async def show_offer(request: Request, people: PeopleDependency) -> Response:
    """Show the invitation or the password form of a token."""
    try:
        given = await _read_token_form(request)
    except VigieError as error:
        return _refused(request, error)
    return await _offer(people, request, given)


@router.post("/accept")
async def accept_invitation(request: Request, people: PeopleDependency) -> Response:
    """Accept an invitation, and show the next steps. Errors are shown beside the form."""
    given: dict[str, str] = {}
    try:
        given = await _read_token_form(request)
        offer = await invitation_acceptance.read_invitation_preview(
            people, given.get("token", ""), datetime.now(UTC)
        )
        acceptance = _parse_acceptance(given, choose_formatter(request))
        signed_in = await invitation_acceptance.accept_open_invitation(
            people, acceptance, None, ClientInfo.of(request), datetime.now(UTC)
        )
    except TokenRefusedError:
        return await _offer(people, request, given)
    except VigieError as error:
        return await _offer(people, request, given, error)
    return _member(people, request, signed_in, "" if offer is None else offer.role)


@router.post("/password")
async def set_password(request: Request, people: PeopleDependency) -> Response:
    """Set a new password with a token."""
    formatter = choose_formatter(request)
    given: dict[str, str] = {}
    try:
        given = await _read_token_form(request)
        reset = _validate(PasswordReset, {"token": given.get("token"), "password": given.get("password")})
        chosen = reset.password.get_secret_value()
        await password_service.reset_password(
            people, reset.token, chosen, ClientInfo.of(request), datetime.now(UTC)
        )
    except TokenRefusedError:
        return await _offer(people, request, given)
    except VigieError as error:
        return await _offer(people, request, given, error)
    return _page(
        request,
        "reset_done",
        title=formatter.translate(WORDS["reset_done"]),
        sign_in=_sign_in(people, formatter, {}),
    )


@router.post("/provider")
async def go_to_provider(request: Request, people: PeopleDependency) -> Response:
    """Start to accept an invitation by signing in at the OpenID Connect provider."""
    formatter = choose_formatter(request)
    given: dict[str, str] = {}
    cookies = Response()
    try:
        given = await _read_token_form(request)
        provider = people.oidc
        if provider is None:
            return await _offer(people, request, given)
        url = await oidc_router.start_invitation_acceptance(provider, people, given.get("token", ""), cookies)
    except TokenRefusedError:
        return await _offer(people, request, given)
    except VigieError as error:
        return await _offer(people, request, given, error)
    # The policy `form-action 'self'` forbids a redirect to the provider, so a script follows a link instead.
    title = formatter.fill(WORDS["provider_title"], provider=provider.name)
    go = formatter.fill(WORDS["provider_go"], provider=provider.name)
    page = _page(request, "provider", title=title, url=url, go=go)
    page.raw_headers.extend(each for each in cookies.raw_headers if each[0] == b"set-cookie")
    return page


async def _read_token_form(request: Request) -> dict[str, str]:
    given = await read_form(request, _FIELDS, most=ANONYMOUS_BODY_MAX, verbatim=_PASSWORDS)
    # REST routes scan JSON bodies for forbidden content; forms have to be scanned here.
    check_body(dict(given))
    # The whole link may have been pasted.
    given["token"] = given.get("token", "").rpartition("#")[2]
    return given


def _validate[Shape: BaseModel](model: type[Shape], fields: Mapping[str, Any]) -> Shape:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidError("A field is invalid.", code=get_field_error_code(error.errors()[0])) from None


def _parse_acceptance(given: Mapping[str, str], formatter: RegisterFormatter) -> InvitationAccept:
    """Validate the form of an invitation, in the language of the page. Empty fields count as missing."""
    fields = {name: given[name] for name in _FIELDS if given.get(name)}
    if code := fields.pop("factor_code", "").replace(" ", ""):
        is_totp = code.isdecimal() and len(code) == _TOTP_DIGITS
        fields["totp" if is_totp else "recovery_code"] = code
    return _validate(InvitationAccept, fields | {"locale": formatter.language})


async def _offer(
    people: PeopleContext, request: Request, given: Mapping[str, str], fault: VigieError | None = None
) -> Response:
    """Show the page of a token: an invitation, a password form, or why the token is invalid."""
    formatter = choose_formatter(request)
    if fault is not None and not given:
        return _refused(request, fault)
    token = given.get("token", "")
    now = datetime.now(UTC)
    if token.startswith(password_service.RESET_PREFIX):
        try:
            _, user = await password_service.find_reset_token(people, token, now)
        except TokenRefusedError:
            return _ended(request, "")
        lead = formatter.fill(WORDS["reset_lead"], address=user.email)
        title = formatter.translate(WORDS["reset_title"])
        return _page(
            request,
            "reset",
            fault,
            title=title,
            lead=lead,
            token=token,
            email=user.email,
            longest=PASSWORD_MAX_LENGTH,
        )
    offer = await invitation_acceptance.read_invitation_preview(people, token, now)
    if offer is None or offer.state != "open":
        return _ended(request, "" if offer is None else offer.state)
    return _page(
        request,
        "invitation",
        fault,
        title=formatter.fill(WORDS["invitation_title"], organisation=offer.organisation),
        lead=formatter.fill(
            WORDS["invitation_lead"], inviter=offer.invited_by, organisation=offer.organisation
        ),
        facts=_facts(offer, formatter),
        token=token,
        email=offer.email,
        name=given.get("name", ""),
        needs_factor=fault is not None and fault.code in _FACTOR_CODE_FAULTS,
        known=bool(given.get("current_password")) or (fault is not None and fault.code == "account_exists"),
        provider=None
        if people.oidc is None
        else formatter.fill(WORDS["provider"], provider=people.oidc.name),
        longest=PASSWORD_MAX_LENGTH,
    )


def _facts(offer: InvitationPreview, formatter: RegisterFormatter) -> list[tuple[str, str]]:
    sites = formatter.translate(WORDS["all_sites"]) if offer.sites is None else ", ".join(offer.sites)
    until = formatter.fill(
        WORDS["open_until_value"],
        day=formatter.day(offer.expires_at),
        clock=formatter.clock(offer.expires_at),
    )
    facts = {
        "organisation": offer.organisation,
        "role": formatter.translate(ROLES[offer.role]),
        "sites": sites,
        "address": offer.email,
        "inviter": offer.invited_by,
        "open_until": until,
    }
    return [(formatter.translate(WORDS[key]), value) for key, value in facts.items()]


def _ended(request: Request, state: str) -> Response:
    """Explain that a token is invalid: 410 if it was used, withdrawn or has expired, otherwise 404."""
    formatter = choose_formatter(request)
    title, lead = ENDED[state]
    return _page(
        request,
        "ended",
        status=_GONE if state else _NOT_FOUND,
        title=formatter.translate(title),
        lead=formatter.translate(lead),
    )


def _member(people: PeopleContext, request: Request, signed_in: SessionCreated, role: str) -> Response:
    formatter = choose_formatter(request)
    organisation = signed_in.organisation
    body = {"email": signed_in.user.email, "organisation_id": str(organisation.id)}
    return _page(
        request,
        "member",
        status=201,
        title=formatter.fill(WORDS["member_title"], organisation=organisation.name),
        role=formatter.translate(ROLES[role]) if role else "",
        session=signed_in.token,
        sign_in=_sign_in(people, formatter, body),
    )


def _sign_in(people: PeopleContext, formatter: RegisterFormatter, fields: Mapping[str, str]) -> str:
    """Build the `curl` command that signs in, with the given fields of the body."""
    given = {"email": "…", **fields, "password": formatter.translate(WORDS["password_here"])}
    body = json.dumps(given, ensure_ascii=False).replace("'", "\\u0027")
    return f"curl {people.base_url}/v1/sessions -H 'Content-Type: application/json' \\\n  -d '{body}'"


def _refused(request: Request, fault: VigieError) -> Response:
    """Show the page of the link again, with the error."""
    formatter = choose_formatter(request)
    return _page(request, "enter", fault, title=formatter.translate(WORDS["enter_title"]))


def _page(
    request: Request,
    view: str,
    fault: VigieError | None = None,
    *,
    title: str,
    status: int = 200,
    **more: Any,  # noqa: ANN401 (whatever the template takes)
) -> Response:
    """Render a page. No cache may store it, because it can contain a token."""
    formatter = choose_formatter(request)
    message = None
    if fault is not None:
        known = FAULTS.get(fault.code, FAULTS["busy" if fault.status in _BUSY else ""])
        message, status = formatter.translate(known), fault.status
    body = render_layout(
        "welcome.html",
        formatter,
        root=read_root_path(request),
        title=title,
        path=WELCOME,
        view=view,
        fault=message,
        words={key: formatter.translate(text) for key, text in WORDS.items()},
        lang=formatter.language,
        other="fr" if formatter.language == "en" else "en",
        **{"token": "", **more},
    )
    return Response(
        body,
        status,
        build_page_headers(formatter, **{"Cache-Control": "no-store"}),
        media_type=HTML_MEDIA_TYPE,
    )
