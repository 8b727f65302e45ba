"""Serves the endpoints for sign-in through an OpenID Connect provider, such as start and callback."""

from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.people import invitation_acceptance, oidc_account_linking
from app.people.oidc_provider import CALLBACK, OidcProvider, OidcRefusedError
from app.people.oidc_schemas import OidcOut, OidcStart, OidcStarted
from app.people.oidc_state import COOKIE, STATE_LIFETIME_S, OidcSignInState
from app.people.schemas import SessionCreated
from app.people.sessions import ClientInfo, end_session_of_token
from app.people.sign_in_dependencies import PeopleContext, PeopleDependency
from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.identity import attempt_limiter
from app.platform.identity.session_cookie import read_session_cookie, set_session_cookie
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import InvalidError, VigieError
from app.platform.kernel.ip_addresses import make_address_subject

router: Final = APIRouter(prefix="/v1/oidc", tags=["Sign-in"], route_class=StrictRoute)
anonymous_router: Final = APIRouter(prefix="/v1/oidc", tags=["Sign-in"], route_class=AnonymousRoute)
_LIMIT: Final = 2048


class OidcDisabledError(VigieError):
    """No OpenID Connect provider is configured."""

    status = 404
    code = "oidc_off"

    def __init__(self) -> None:
        super().__init__("No OpenID Connect provider is configured (`VIGIE_OIDC__ISSUER`).")


async def _provider(people: PeopleDependency) -> OidcProvider:
    if people.oidc is None:
        raise OidcDisabledError
    return people.oidc


_Provider = Annotated[OidcProvider, Depends(_provider)]


@router.get("", summary="Read the sign-in provider", responses=document_problems(404))
async def get_oidc(provider: _Provider, people: PeopleDependency) -> OidcOut:
    """Read the provider's name and the URL that starts a sign-in; 404 (`oidc_off`) if none is configured."""
    return OidcOut(name=provider.name, start=f"{people.base_url}/v1/oidc/start")


@router.get(
    "/start",
    summary="Sign in through the provider",
    status_code=302,
    response_class=RedirectResponse,
    responses=document_problems(404),
)
async def start_oidc(
    provider: _Provider,
    people: PeopleDependency,
    organisation: Annotated[
        Identifier | None, Query(description="The organisation to work for; the person is a member of it")
    ] = None,
) -> RedirectResponse:
    """Redirect the browser to the provider and back. The final answer is that of `POST /v1/sessions`.

    This does not accept an invitation, since any page can link to it: use `POST /v1/oidc/start`.
    """
    sign_in_state = OidcSignInState.begin(organisation, datetime.now(UTC))
    answer = RedirectResponse(await provider.authorization_url(sign_in_state), status_code=302)
    _set_state_cookie(answer, provider, people, sign_in_state)
    return answer


@anonymous_router.post(
    "/start",
    summary="Accept an invitation through the provider",
    responses=document_problems(401, 404),
)
async def confirm_oidc(
    body: OidcStart, response: Response, provider: _Provider, people: PeopleDependency
) -> OidcStarted:
    """Confirm an invitation or an organisation, then sign in through the provider.

    The response sets a cookie: send the same browser to `url`. A page at Vigie's own address makes this call,
    such as that of an invitation's link. It is needed once: to accept an invitation, or if several
    organisations know the person's address (409 `organisation_unconfirmed`).
    """
    organisation = body.organisation_id
    if (body.invitation is None) == (organisation is None):
        raise InvalidError(
            "Give either `invitation` or `organisation_id`.", code="invitation_or_organisation"
        )
    if body.invitation is not None:
        return OidcStarted(url=await start_invitation_acceptance(provider, people, body.invitation, response))
    return OidcStarted(url=await _start_confirmed(provider, people, organisation, response))


async def start_invitation_acceptance(
    provider: OidcProvider, people: PeopleContext, token: str, response: Response
) -> str:
    """Start the acceptance of an invitation through the provider.

    Args:
        provider: The provider.
        people: The dependencies of sign-in.
        token: The invitation's token.
        response: The response that sets the browser's cookie.

    Returns:
        The URL to which the browser goes.

    Raises:
        TokenRefusedError: No open invitation has this token.
    """
    invitation = await invitation_acceptance.find_open_invitation(people, token, datetime.now(UTC))
    return await _start_confirmed(provider, people, invitation.organisation_id, response)


async def _start_confirmed(
    provider: OidcProvider, people: PeopleContext, organisation: UUID | None, response: Response
) -> str:
    sign_in_state = OidcSignInState.begin(organisation, datetime.now(UTC), confirmed=True)
    url = await provider.authorization_url(sign_in_state)
    _set_state_cookie(response, provider, people, sign_in_state)
    return url


async def start_console_sign_in(provider: OidcProvider, people: PeopleContext, page: str) -> Response:
    """Redirect to the provider, whose callback then signs in the browser to the console.

    Args:
        provider: The provider.
        people: The dependencies of sign-in.
        page: The path of the page to return to.
    """
    sign_in_state = OidcSignInState.begin(None, datetime.now(UTC), page=page)
    answer = RedirectResponse(await provider.authorization_url(sign_in_state), status_code=302)
    _set_state_cookie(answer, provider, people, sign_in_state)
    return answer


def _set_state_cookie(
    answer: Response, provider: OidcProvider, people: PeopleContext, sign_in_state: OidcSignInState
) -> None:
    """Store the state of a sign-in in a cookie of the browser."""
    answer.set_cookie(
        COOKIE,
        provider.state_cookies.pack(sign_in_state),
        max_age=STATE_LIFETIME_S,
        path=CALLBACK,
        secure=people.base_url.startswith("https://"),
        httponly=True,
        # `lax`: sent with the provider's redirect to the callback, but with no other cross-site request.
        samesite="lax",
    )


# Not in the schema: only the provider redirects here. It allows unknown parameters, which providers add.
@router.get("/callback", include_in_schema=False, status_code=200, response_model=SessionCreated)
async def finish_oidc(
    request: Request,
    response: Response,
    provider: _Provider,
    people: PeopleDependency,
    *,
    state: Annotated[str, Query(max_length=_LIMIT)] = "",
    code: Annotated[str | None, Query(max_length=_LIMIT)] = None,
    iss: Annotated[str | None, Query(max_length=_LIMIT)] = None,
) -> SessionCreated | Response:
    """Sign in the person that the provider redirected back.

    The response is that of `POST /v1/sessions`; for a sign-in to the console, a redirect to its page.
    """
    now, origin = datetime.now(UTC), ClientInfo.of(request)
    address = f"sign-in:{make_address_subject(origin.address)}"
    limits = people.settings
    await attempt_limiter.limit_attempt(
        people.database, address, most=limits.attempts, window_s=limits.attempts_window_s
    )
    sign_in_state = provider.state_cookies.unpack(request.cookies.get(COOKIE, ""))
    if sign_in_state is None or not sign_in_state.is_answered_by(state, now):
        raise OidcRefusedError(
            "This sign-in was not started in this browser, or has expired. Start it again."
        )
    # RFC 9207: the response must not come from another provider (mix-up attack).
    if code is None or iss not in {None, provider.issuer}:
        raise OidcRefusedError("The provider did not sign you in. Start the sign-in again.")
    identity = await provider.identify(code, sign_in_state, now)
    signed_in = await oidc_account_linking.sign_in_through_provider(
        people, identity, sign_in_state, origin, now
    )
    await attempt_limiter.forget_attempt(people.database, address)
    if sign_in_state.page is not None:
        path = urlsplit(people.base_url).path.rstrip("/")
        response = RedirectResponse(f"{path}{sign_in_state.page}", status_code=303)
        # As the console reads it: by the configured address.
        https = get_resource(request.app, ApiSettings).public_url.startswith("https:")
        former = read_session_cookie(request.scope, https=https)
        if former is not None:
            await end_session_of_token(people.database, former, now)
        set_session_cookie(response, signed_in.token, signed_in.expires_at, https=https)
    response.delete_cookie(COOKIE, path=CALLBACK)
    return signed_in if sign_in_state.page is None else response
