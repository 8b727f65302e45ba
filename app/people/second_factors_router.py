"""Serves the REST endpoints of the caller's own second factors."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from app.people import second_factor_service
from app.people.second_factor_schemas import (
    PasskeyCreate,
    PasskeyCreated,
    PasskeyOptions,
    Reauthentication,
    RecoveryCodesOut,
    SecondFactorsOut,
    TotpConfirmation,
    TotpEnrolled,
    TotpStarted,
)
from app.people.second_factor_service import AccountRequest
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import PeopleDependency, Person, TokenHash
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import AccountRoute

router: Final = APIRouter(prefix="/v1/me", tags=["Sign-in"], route_class=AccountRoute)


async def _account_request(request: Request, principal: Person, token: TokenHash) -> AccountRequest:
    return AccountRequest(principal.key_id, token, ClientInfo.of(request), datetime.now(UTC))


_Account = Annotated[AccountRequest, Depends(_account_request)]


@router.get("/second-factors", summary="List your second factors", responses=document_problems(403))
async def get_second_factors(person: Person, people: PeopleDependency) -> SecondFactorsOut:
    """List your second factors, the number of unused recovery codes, and who requires a factor."""
    return await second_factor_service.read_second_factors(people, person.key_id)


@router.post(
    "/reauthentication",
    summary="Prove again who you are",
    status_code=204,
    responses=document_problems(401, 403, 409),
)
async def prove_identity(body: Reauthentication, account: _Account, people: PeopleDependency) -> None:
    """Prove again who you are, with your password or a second factor.

    Changes of second factors need it if the sign-in is older than 15 minutes (`VIGIE_SESSIONS__RECENT_S`):
    they answer 403 `reauthentication_required` with `methods`, `challenge` and, for a passkey, `options`.
    """
    await second_factor_service.reauthenticate(people, account, body)


@router.post(
    "/totp",
    summary="Start to enrol an authenticator app",
    status_code=201,
    responses=document_problems(403, 409, 503),
)
async def start_totp(account: _Account, people: PeopleDependency) -> TotpStarted:
    """Make a secret for an authenticator app. It has no effect until you confirm it with a code of it."""
    return await second_factor_service.start_totp(people, account)


@router.post(
    "/totp/confirm", summary="Enrol an authenticator app", responses=document_problems(401, 403, 409, 503)
)
async def confirm_totp(body: TotpConfirmation, account: _Account, people: PeopleDependency) -> TotpEnrolled:
    """Enrol the authenticator app. Your first second factor ends your other sign-ins.

    The code counts as used: it does not work for a sign-in.
    """
    return await second_factor_service.confirm_totp(people, account, body.code)


@router.delete(
    "/totp", summary="Remove your authenticator app", status_code=204, responses=document_problems(403, 404)
)
async def remove_totp(account: _Account, people: PeopleDependency) -> None:
    """Remove your authenticator app. Without any other factor, your recovery codes end too."""
    await second_factor_service.remove_totp(people, account)


@router.post(
    "/passkeys/options", summary="Start to enrol a passkey", responses=document_problems(403, 409, 503)
)
async def start_passkey(account: _Account, people: PeopleDependency) -> PasskeyOptions:
    """Make the options with which a browser creates a passkey (`navigator.credentials.create()`)."""
    return await second_factor_service.start_passkey(people, account)


@router.post(
    "/passkeys", summary="Enrol a passkey", status_code=201, responses=document_problems(401, 403, 409)
)
async def create_passkey(body: PasskeyCreate, account: _Account, people: PeopleDependency) -> PasskeyCreated:
    """Enrol a passkey. Your first second factor ends your other sign-ins."""
    return await second_factor_service.add_passkey(people, account, body)


@router.delete(
    "/passkeys/{passkey_id}", summary="Remove a passkey", status_code=204, responses=document_problems(403)
)
async def remove_passkey(passkey_id: str, account: _Account, people: PeopleDependency) -> None:
    """Remove a passkey. Without any other factor, your recovery codes end too."""
    await second_factor_service.remove_passkey(people, account, passkey_id)


@router.post(
    "/recovery-codes",
    summary="Replace your recovery codes",
    status_code=201,
    responses=document_problems(403, 409),
)
async def create_recovery_codes(account: _Account, people: PeopleDependency) -> RecoveryCodesOut:
    """Replace your recovery codes. The response shows them once; the former ones no longer work."""
    codes = await second_factor_service.replace_recovery_codes(people, account)
    return RecoveryCodesOut(recovery_codes=codes)
