"""The two steps of a browser that signs in through an OpenID Connect provider."""

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.people import invitation_acceptance, oidc_sign_in
from app.people.context import PeopleContext, PeopleDependency
from app.people.oidc_provider import CALLBACK, OidcProvider, OidcRefusedError
from app.people.oidc_state import COOKIE, STATE_LIFETIME_S, OidcSignInState
from app.people.schemas import OidcOut, OidcStart, OidcStarted, SessionCreated
from app.people.sessions import ClientInfo
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.identity import attempt_limiter
from app.platform.kernel.client_addresses import make_address_subject
from app.platform.kernel.errors import InvalidError, VigieError

router: Final = APIRouter(prefix="/v1/oidc", tags=["Sign-in"], route_class=StrictRoute)
anonymous_router: Final = APIRouter(prefix="/v1/oidc", tags=["Sign-in"], route_class=AnonymousRoute)
_LIMIT: Final = 2048


class OidcDisabledError(VigieError):
    """People do not sign in through a provider here."""

    status = 404
    code = "oidc_off"

    def __init__(self) -> None:
        super().__init__("There is no OpenID Connect provider here (`VIGIE_OIDC__ISSUER`).")


async def _provider(people: PeopleDependency) -> OidcProvider:
    if people.oidc is None:
        raise OidcDisabledError
    return people.oidc


_Provider = Annotated[OidcProvider, Depends(_provider)]


@router.get("", operation_id="get_oidc", summary="Which provider is there?", responses=document_problems(404))
async def get_oidc(provider: _Provider, people: PeopleDependency) -> OidcOut:
    """What the provider is called, and where a browser begins; 404 (`oidc_off`) where there is none."""
    return OidcOut(name=provider.name, start=f"{people.base_url}/v1/oidc/start")


@router.get(
    "/start",
    operation_id="start_oidc",
    summary="Sign in through the provider",
    status_code=302,
    response_class=RedirectResponse,
    responses=document_problems(404, 422, 503),
)
async def start_oidc(
    provider: _Provider,
    people: PeopleDependency,
    organisation: Annotated[
        Identifier | None, Query(description="Whom the person wants to work for, of their organisations")
    ] = None,
) -> RedirectResponse:
    """Send a browser to the provider, which sends it back; the answer then is that of `POST /v1/sessions`.

    By this way nobody accepts an invitation, for anybody can make a link to it: see `POST /v1/oidc/start`.
    """
    flight = OidcSignInState.begin(organisation, datetime.now(UTC))
    answer = RedirectResponse(await provider.authorization_url(flight), status_code=302)
    _give(answer, provider, people, flight)
    return answer


@anonymous_router.post(
    "/start",
    operation_id="confirm_oidc",
    summary="Accept an invitation through the provider",
    responses=document_problems(400, 401, 404, 413, 415, 422, 503),
)
async def confirm_oidc(
    body: OidcStart, response: Response, provider: _Provider, people: PeopleDependency
) -> OidcStarted:
    """Say whom one means, and go to the provider: with the browser that this answer gives a cookie, to `url`.

    A page at Vigie's own address calls it, such as that of an invitation's link. Needed once: to accept an
    invitation, or where several organisations know the person's address (409 `organisation_unconfirmed`).
    """
    organisation = body.organisation_id
    if (body.invitation is None) == (organisation is None):
        raise InvalidError(
            "Give `invitation` or `organisation_id`: one of the two.", code="invitation_or_organisation"
        )
    if body.invitation is not None:
        return OidcStarted(url=await start_invitation_acceptance(provider, people, body.invitation, response))
    return OidcStarted(url=await _confirm(provider, people, organisation, response))


async def start_invitation_acceptance(
    provider: OidcProvider, people: PeopleContext, token: str, response: Response
) -> str:
    """Begin to accept an invitation through the provider (TokenRefusedError).

    Args:
        provider: The provider.
        people: What this stands on.
        token: The invitation's.
        response: The answer that gives the browser its cookie.

    Returns:
        Where the browser goes.
    """
    invitation = await invitation_acceptance.find_open_invitation(people, token, datetime.now(UTC))
    return await _confirm(provider, people, invitation.organisation_id, response)


async def _confirm(
    provider: OidcProvider, people: PeopleContext, organisation: UUID | None, response: Response
) -> str:
    flight = OidcSignInState.begin(organisation, datetime.now(UTC), confirmed=True)
    url = await provider.authorization_url(flight)
    _give(response, provider, people, flight)
    return url


def _give(answer: Response, provider: OidcProvider, people: PeopleContext, flight: OidcSignInState) -> None:
    """Have the browser keep a flight."""
    answer.set_cookie(
        COOKIE,
        provider.luggage.pack(flight),
        max_age=STATE_LIFETIME_S,
        path=CALLBACK,
        secure=people.base_url.startswith("https://"),
        httponly=True,
        # It comes with a browser that the provider sends here, and with nothing else from elsewhere.
        samesite="lax",
    )


# Not for clients to call; and providers add parameters of their own, which the others are refused.
@router.get("/callback", include_in_schema=False, status_code=200)
async def finish_oidc(
    request: Request,
    response: Response,
    provider: _Provider,
    people: PeopleDependency,
    *,
    state: Annotated[str, Query(max_length=_LIMIT)] = "",
    code: Annotated[str | None, Query(max_length=_LIMIT)] = None,
    iss: Annotated[str | None, Query(max_length=_LIMIT)] = None,
) -> SessionCreated:
    """Sign in whom the provider sent back."""
    now, origin = datetime.now(UTC), ClientInfo.of(request)
    address = f"sign-in:{make_address_subject(origin.address)}"
    limits = people.settings
    await attempt_limiter.limit_attempt(
        people.database, address, most=limits.attempts, window_s=limits.attempts_window_s
    )
    flight = provider.luggage.unpack(request.cookies.get(COOKIE, ""))
    if flight is None or not flight.is_answered_by(state, now):
        raise OidcRefusedError("This sign-in was not begun here, or took too long: start again.")
    # RFC 9207: of several providers, another one must not answer.
    if code is None or iss not in {None, provider.issuer}:
        raise OidcRefusedError("The provider did not sign you in: start again.")
    identity = await provider.identify(code, flight, now)
    signed_in = await oidc_sign_in.sign_in_through_provider(people, identity, flight, origin, now)
    await attempt_limiter.forget_attempt(people.database, address)
    response.delete_cookie(COOKIE, path=CALLBACK)
    return signed_in
