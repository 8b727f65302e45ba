"""Makes the options of passkeys, and verifies the answers of authenticators (WebAuthn, by py_webauthn).

The relying party follows from the public address: its host is the relying party's id, its origin the only
accepted one.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json_dict
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.people.models import Passkey, User
from app.people.totp import ISSUER
from app.platform.kernel.errors import ConflictError, InvalidError, UnauthorisedError
from app.platform.kernel.ip_addresses import is_loopback
from app.platform.observability.metrics_and_logs import get_logger

CREDENTIAL_ID_MAX: Final = 1023
"""Bytes of a credential's id (WebAuthn, 5.8.3)."""

_log = get_logger(__name__)
_LOCALHOST: Final = "localhost"
_TRANSPORTS: Final = frozenset(each.value for each in AuthenticatorTransport)


class PasskeyRefusedError(UnauthorisedError):
    """The answer of an authenticator does not prove possession of a passkey; the log has the reason."""

    code = "passkey_refused"

    def __init__(self) -> None:
        super().__init__(
            "The passkey was not accepted. Start again, and use a passkey that you enrolled here."
        )


class RelyingParty(NamedTuple):
    """The relying party of passkeys.

    Attributes:
        id: The host of the public address.
        origin: The origin of pages that may use passkeys.
    """

    id: str
    origin: str

    @classmethod
    def of(cls, base_url: str) -> "RelyingParty | None":
        """Derive it from the public address; None where browsers refuse passkeys.

        Browsers demand https and a name. They make an exception for `localhost`, which stands for a loopback
        address here.
        """
        parts = urlsplit(base_url)
        host = (parts.hostname or "").lower()
        port = "" if parts.port in {None, {"https": 443, "http": 80}.get(parts.scheme)} else f":{parts.port}"
        if is_loopback(host):
            return cls(_LOCALHOST, f"{parts.scheme}://{_LOCALHOST}{port}")
        if parts.scheme != "https" or not host or _is_address(host):
            return None
        return cls(host, f"https://{host}{port}")


class NewPasskey(NamedTuple):
    """A verified passkey: the id of its credential, its public key (COSE), and its signature counter."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: list[str]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def require_relying_party(base_url: str) -> RelyingParty:
    """Return the relying party of the public address (ConflictError `passkeys_unavailable`)."""
    party = RelyingParty.of(base_url)
    if party is None:
        raise ConflictError(
            "Browsers accept passkeys only at an https address with a name. An administrator can set the "
            "public address with `PUT /v1/settings/public-url`; use an authenticator app until then.",
            code="passkeys_unavailable",
        )
    return party


def _describe(passkeys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=each.credential_id, transports=[AuthenticatorTransport(name) for name in each.transports]
        )
        for each in passkeys
    ]


def make_registration_options(
    party: RelyingParty, user: User, nonce: bytes, present: Sequence[Passkey], timeout_s: float
) -> dict[str, Any]:
    """Make the options of `navigator.credentials.create()`, as JSON.

    Args:
        party: The relying party.
        user: The person.
        nonce: The challenge that the authenticator signs.
        present: The person's passkeys, whose authenticators are excluded.
        timeout_s: The time to answer, in seconds.
    """
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=ISSUER,
        user_id=user.id.bytes,
        user_name=user.email,
        user_display_name=user.name,
        challenge=nonce,
        timeout=round(timeout_s * 1000),
        exclude_credentials=_describe(present),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )
    return options_to_json_dict(options)


def make_authentication_options(
    party: RelyingParty, nonce: bytes, passkeys: Sequence[Passkey] | None, timeout_s: float
) -> dict[str, Any]:
    """Make the options of `navigator.credentials.get()`, as JSON.

    Args:
        party: The relying party.
        nonce: The challenge that the authenticator signs.
        passkeys: The accepted passkeys; None: any of the relying party, which then verifies the person too.
        timeout_s: The time to answer, in seconds.
    """
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=nonce,
        timeout=round(timeout_s * 1000),
        allow_credentials=None if passkeys is None else _describe(passkeys),
        user_verification=UserVerificationRequirement.REQUIRED
        if passkeys is None
        else UserVerificationRequirement.PREFERRED,
    )
    return options_to_json_dict(options)


def verify_registration(party: RelyingParty, credential: Mapping[str, Any], nonce: bytes) -> NewPasskey:
    """Verify a new passkey (InvalidError `invalid_passkey`). Attestation is not required: any make does."""
    try:
        found = webauthn.verify_registration_response(
            credential=dict(credential),
            expected_challenge=nonce,
            expected_rp_id=party.id,
            expected_origin=party.origin,
        )
    except Exception as error:  # noqa: BLE001 (it decodes CBOR and keys of a client: any failure refuses)
        _log.info("passkey_not_enrolled", reason=repr(error))
        raise InvalidError(
            "The answer of the authenticator is not valid, or belongs to another address. Start again.",
            code="invalid_passkey",
        ).at("body.credential") from None
    if len(found.credential_id) > CREDENTIAL_ID_MAX:
        raise InvalidError(
            f"The id of the passkey has more than {CREDENTIAL_ID_MAX} bytes. Use another authenticator.",
            code="invalid_passkey",
        ).at("body.credential")
    return NewPasskey(
        found.credential_id, found.credential_public_key, found.sign_count, _read_transports(credential)
    )


def _read_transports(credential: Mapping[str, Any]) -> list[str]:
    response = credential.get("response")
    given = response.get("transports") if isinstance(response, Mapping) else None
    return sorted(_TRANSPORTS & {each for each in given if isinstance(each, str)} if given else ())


def read_credential_id(credential: Mapping[str, Any]) -> bytes:
    """Read the id of the credential of an authenticator's answer (PasskeyRefusedError)."""
    try:
        return base64url_to_bytes(str(credential.get("id")))
    except ValueError:
        raise PasskeyRefusedError from None


def verify_authentication(
    party: RelyingParty,
    passkey: Passkey,
    credential: Mapping[str, Any],
    nonce: bytes,
    *,
    verifies_person: bool = False,
) -> int:
    """Verify that an authenticator signed a challenge with a passkey. Returns its signature counter.

    Args:
        party: The relying party.
        passkey: The passkey that the answer names.
        credential: The answer, as JSON.
        nonce: The challenge.
        verifies_person: Whether the authenticator must have verified the person, by a PIN or a fingerprint.

    Raises:
        PasskeyRefusedError: The signature, the origin or the challenge is wrong, the person was not verified,
            or the counter did not increase: the passkey was copied.
    """
    try:
        found = webauthn.verify_authentication_response(
            credential=dict(credential),
            expected_challenge=nonce,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=verifies_person,
        )
    except Exception as error:  # noqa: BLE001 (as in `verify_registration`)
        _log.warning("passkey_refused", passkey_id=str(passkey.id), reason=repr(error))
        raise PasskeyRefusedError from None
    return found.new_sign_count


def is_answer_of(user: User, credential: Mapping[str, Any]) -> bool:
    """Whether the user handle of an answer is that of a person, as it must be without an entered address."""
    response = credential.get("response")
    handle = response.get("userHandle") if isinstance(response, Mapping) else None
    try:
        return isinstance(handle, str) and base64url_to_bytes(handle) == user.id.bytes
    except ValueError:
        return False
