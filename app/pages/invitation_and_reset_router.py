"""Serves the pages of invitations and password resets."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request, Response

from app.pages.invitation_and_reset_texts import ENDED, FAULTS, ROLES, WORDS
from app.pages.link_pages import LinkPages, read_token_form, validate_form
from app.pages.page_layout import choose_formatter
from app.people import invitation_acceptance, oidc_router, password_service
from app.people.invitation_acceptance import InvitationPreview
from app.people.password_rules import PASSWORD_MAX_LENGTH
from app.people.password_verification import TokenRefusedError
from app.people.schemas import InvitationAccept, PasswordReset, SessionCreated
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import WELCOME, PeopleContext, PeopleDependency
from app.platform.identity.session_cookie import CONSOLE_PATH
from app.platform.kernel.errors import VigieError
from app.public_register.register_value_formatter import RegisterFormatter

router: Final = APIRouter(prefix=WELCOME, include_in_schema=False)
_FIELDS: Final = ("token", "name", "password", "current_password", "factor_code")
_FACTOR_CODE_FAULTS: Final = frozenset({"second_factor_code_needed", "wrong_second_factor"})
_TOTP_DIGITS: Final = 6
_PASSWORDS: Final = ("password", "current_password")
_NOT_FOUND: Final = 404
_GONE: Final = 410
_PAGES: Final = LinkPages(WELCOME, "welcome.html", WORDS, FAULTS)


@router.get("")
async def show_entry(request: Request) -> Response:
    """Show the page of a link. Its script posts the token; without scripts, the person pastes the link."""
    return _PAGES.show_entry(request)


@router.post("")
async def show_offer(request: Request, people: PeopleDependency) -> Response:
    """Show the invitation or the password form of a token."""
    try:
        given = await read_token_form(request, _FIELDS, verbatim=_PASSWORDS)
    except VigieError as error:
        return _PAGES.show_entry(request, error)
    return await _offer(people, request, given)


@router.post("/accept")
async def accept_invitation(request: Request, people: PeopleDependency) -> Response:
    """Accept an invitation, and show the next steps. Errors are shown beside the form."""
    given: dict[str, str] = {}
    try:
        given = await read_token_form(request, _FIELDS, verbatim=_PASSWORDS)
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
        given = await read_token_form(request, _FIELDS, verbatim=_PASSWORDS)
        reset = validate_form(PasswordReset, {"token": given.get("token"), "password": given.get("password")})
        chosen = reset.password.get_secret_value()
        await password_service.reset_password(
            people, reset.token, chosen, ClientInfo.of(request), datetime.now(UTC)
        )
    except TokenRefusedError:
        return await _offer(people, request, given)
    except VigieError as error:
        return await _offer(people, request, given, error)
    return _PAGES.show(
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
        given = await read_token_form(request, _FIELDS, verbatim=_PASSWORDS)
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
    page = _PAGES.show(request, "provider", title=title, url=url, go=go)
    page.raw_headers.extend(each for each in cookies.raw_headers if each[0] == b"set-cookie")
    return page


def _parse_acceptance(given: Mapping[str, str], formatter: RegisterFormatter) -> InvitationAccept:
    """Validate the form of an invitation, in the language of the page. Empty fields count as missing."""
    fields = {name: given[name] for name in _FIELDS if given.get(name)}
    if code := fields.pop("factor_code", "").replace(" ", ""):
        is_totp = code.isdecimal() and len(code) == _TOTP_DIGITS
        fields["totp" if is_totp else "recovery_code"] = code
    return validate_form(InvitationAccept, fields | {"locale": formatter.language})


async def _offer(
    people: PeopleContext, request: Request, given: Mapping[str, str], fault: VigieError | None = None
) -> Response:
    """Show the page of a token: an invitation, a password form, or why the token is invalid."""
    formatter = choose_formatter(request)
    if fault is not None and not given:
        return _PAGES.show_entry(request, fault)
    token = given.get("token", "")
    now = datetime.now(UTC)
    if token.startswith(password_service.RESET_PREFIX):
        try:
            _, user = await password_service.find_reset_token(people, token, now)
        except TokenRefusedError:
            return _ended(request, "")
        lead = formatter.fill(WORDS["reset_lead"], address=user.email)
        title = formatter.translate(WORDS["reset_title"])
        return _PAGES.show(
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
    return _PAGES.show(
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
    title, lead = ENDED[state]
    return _PAGES.show_ended(request, title, lead, _GONE if state else _NOT_FOUND)


def _member(people: PeopleContext, request: Request, signed_in: SessionCreated, role: str) -> Response:
    formatter = choose_formatter(request)
    organisation = signed_in.organisation
    body = {"email": signed_in.user.email, "organisation_id": str(organisation.id)}
    return _PAGES.show(
        request,
        "member",
        status=201,
        title=formatter.fill(WORDS["member_title"], organisation=organisation.name),
        role=formatter.translate(ROLES[role]) if role else "",
        session=signed_in.token,
        console=f"{CONSOLE_PATH}/sign-in?organisation={organisation.id}",
        sign_in=_sign_in(people, formatter, body),
    )


def _sign_in(people: PeopleContext, formatter: RegisterFormatter, fields: Mapping[str, str]) -> str:
    """Build the `curl` command that signs in, with the given fields of the body."""
    given = {"email": "…", **fields, "password": formatter.translate(WORDS["password_here"])}
    body = json.dumps(given, ensure_ascii=False).replace("'", "\\u0027")
    return f"curl {people.base_url}/v1/sessions -H 'Content-Type: application/json' \\\n  -d '{body}'"
