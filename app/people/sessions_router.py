"""Serves the REST endpoints of sign-in, sign-out, password reset and change of organisation."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from sqlalchemy import select

from app.people import password_service, repository, second_factor_sign_in, sign_in
from app.people.models import UserSession
from app.people.schemas import PasswordReset, SessionCreated, SignedIn, SignIn, Switch
from app.people.second_factor_schemas import PasskeyOptions, PasskeySignIn, SecondFactorSignIn
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import PeopleDependency, Person, TokenHash
from app.platform.http.contract.problems import MEDIA_TYPE, document_problems
from app.platform.http.contract.session_dependencies import WriteSessionDep
from app.platform.http.contract.strict_body import AccountRoute, AnonymousRoute
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import run_with_full_scope

router: Final = APIRouter(prefix="/v1/sessions", tags=["Sign-in"], route_class=AccountRoute)
anonymous_router: Final = APIRouter(prefix="/v1", tags=["Sign-in"], route_class=AnonymousRoute)

_SECOND_FACTOR_REQUIRED: Final[dict[str, Any]] = {
    "type": "about:blank",
    "title": "Not signed in",
    "status": 401,
    "code": "second_factor_required",
    "detail": "This account has a second factor. Send `challenge` with one of the `methods` to "
    "`POST /v1/sessions/second-factor`.",
    "challenge": "c2VhbGVk…",
    "expires_at": "2026-11-24T10:05:00Z",
    "methods": ["totp", "passkey", "recovery_code"],
    "options": {
        "challenge": "vB3r…",
        "timeout": 300000,
        "rpId": "vigie.example.com",
        "allowCredentials": [{"id": "q1Xb…", "type": "public-key", "transports": ["internal"]}],
        "userVerification": "preferred",
    },
}


def _document_sign_in(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the problems of a sign-in, with the 401 that asks for a second factor as an example."""
    problems = document_problems(*statuses)
    wrong = problems[401]["content"][MEDIA_TYPE]
    wrong["examples"] = {
        "wrong_credentials": {"value": {**wrong.pop("example"), "code": "wrong_credentials"}},
        "second_factor_required": {"value": _SECOND_FACTOR_REQUIRED},
    }
    return problems


@anonymous_router.post(
    "/sessions",
    operation_id="sign_in",
    summary="Sign in",
    status_code=201,
    responses=_document_sign_in(401, 403, 404),
)
async def sign_in_with_password(body: SignIn, request: Request, people: PeopleDependency) -> SessionCreated:
    """Sign in with a password. Send the token with every request as `Authorization: Bearer vgs_…`.

    The token works for one organisation, by default the one that you joined first; `POST /v1/sessions/switch`
    changes it. If you have several accounts with the same address, `organisation_id` selects one. A wrong
    address and a wrong password get the same answer. Attempts are limited by client address and by account
    (429). The number of concurrent sign-ins is limited too: a new one ends the oldest.

    If you have a second factor, the answer to the right password is 401 `second_factor_required`. It has a
    `challenge`, your `methods` and, for passkeys, `options` for `navigator.credentials.get()`. Continue with
    `POST /v1/sessions/second-factor` before `expires_at`.
    """
    return await sign_in.sign_in_by_password(people, body, ClientInfo.of(request), datetime.now(UTC))


@anonymous_router.post(
    "/sessions/second-factor",
    operation_id="sign_in_with_second_factor",
    summary="Sign in: second factor",
    status_code=201,
    responses=document_problems(401, 403, 404),
)
async def sign_in_with_second_factor(
    body: SecondFactorSignIn, request: Request, people: PeopleDependency
) -> SessionCreated:
    """Complete a sign-in by password with exactly one of `totp`, `recovery_code` and `passkey`.

    - A code that was accepted once is refused afterwards (`wrong_second_factor`), and so is a passkey whose
      counter did not increase (`passkey_refused`).
    - A challenge works once, until it expires or the password changes (`challenge_refused`: start again).
    - Attempts are limited by person, over all challenges (429).
    """
    return await second_factor_sign_in.sign_in_by_second_factor(
        people, body, ClientInfo.of(request), datetime.now(UTC)
    )


@anonymous_router.post(
    "/sessions/passkey-options",
    operation_id="start_passkey_sign_in",
    summary="Start to sign in with a passkey alone",
    responses=document_problems(409, 503),
)
async def start_passkey_sign_in(people: PeopleDependency) -> PasskeyOptions:
    """Make the options with which a browser offers the passkeys of this installation.

    Neither address nor password is needed. Pass the `options` to `navigator.credentials.get()`.
    """
    return second_factor_sign_in.begin_passkey_sign_in(people, datetime.now(UTC))


@anonymous_router.post(
    "/sessions/passkey",
    operation_id="sign_in_with_passkey",
    summary="Sign in with a passkey alone",
    status_code=201,
    responses=document_problems(401, 403, 404, 409),
)
async def sign_in_with_passkey(
    body: PasskeySignIn, request: Request, people: PeopleDependency
) -> SessionCreated:
    """Sign in with a passkey whose device verified you, by PIN or fingerprint. It counts as both factors."""
    return await second_factor_sign_in.sign_in_by_passkey(
        people, body, ClientInfo.of(request), datetime.now(UTC)
    )


@anonymous_router.post(
    "/passwords/reset",
    summary="Choose a new password",
    status_code=204,
    responses=document_problems(401),
)
async def reset_password(body: PasswordReset, request: Request, people: PeopleDependency) -> None:
    """Choose a new password with a reset token from an owner of your organisation. All your sign-ins end."""
    new_password = body.password.get_secret_value()
    await password_service.reset_password(
        people, body.token, new_password, ClientInfo.of(request), datetime.now(UTC)
    )


@router.post("/switch", summary="Work for another organisation", responses=document_problems(403, 404))
async def switch_organisation(
    body: Switch, principal: Person, token: TokenHash, people: PeopleDependency
) -> SignedIn:
    """Switch the sign-in of this request to another organisation of the person."""
    # Row-level security hides the person's other organisations.
    with run_with_full_scope():
        async with people.database.write() as session:
            # The lock serialises this with a removal from the organisation, which ends the sign-ins there.
            user = await repository.lock_user(session, principal.key_id)
            own_session = select(UserSession).where(UserSession.token_hash == token)
            row = (await session.scalars(own_session)).one()
            memberships = await repository.list_memberships(session, principal.key_id)
            if body.organisation_id not in {each.organisation.id for each in memberships}:
                raise NotFoundError("organisation", body.organisation_id)
            row.organisation_id = body.organisation_id
            await session.flush()
            return SignedIn.of(row, user, memberships)


@router.delete("/current", summary="Sign out", status_code=204, responses=document_problems(403))
async def sign_out(_: Person, token: TokenHash, session: WriteSessionDep) -> None:
    """End the sign-in of this request."""
    row = (await session.scalars(select(UserSession).where(UserSession.token_hash == token))).one()
    row.revoked_at = datetime.now(UTC)
