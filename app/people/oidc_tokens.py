"""Verifies ID tokens of OpenID Connect: signature, issuer, audience, nonce and expiry. Pure.

Only asymmetric signatures by the provider's keys are accepted: neither `none` nor the HMAC of a shared
secret.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_LEEWAY_S: Final = 60
_SUBJECT_LIMIT: Final = 255


class IdTokenError(Exception):
    """An ID token is not valid. The text gives the reason without any content of the token."""


class UnknownKeyError(IdTokenError):
    """The token is signed with a key that is not in the key set. The provider may have rotated its keys."""


class ExpectedClaims(NamedTuple):
    """The required claims of an ID token.

    Attributes:
        issuer: The issuer.
        client_id: The audience: Vigie's client id.
        nonce: The nonce of the sign-in.
    """

    issuer: str
    client_id: str
    nonce: str


def parse_signing_keys(document: Mapping[str, Any]) -> KeySet:
    """Parse the signing keys of a key set (RFC 7517); keys of other kinds or uses are skipped.

    Raises:
        IdTokenError: The key set contains no usable key.
    """
    kinds: dict[str, type[RSAKey | ECKey]] = {"RSA": RSAKey, "EC": ECKey}
    keys: list[RSAKey | ECKey] = []
    given = document.get("keys")
    for entry in given if isinstance(given, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        kind = kinds.get(str(entry.get("kty")))
        if kind is None:
            continue
        try:
            keys.append(kind.import_key(entry))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not keys:
        raise IdTokenError("the provider has no key that could have signed it")
    return KeySet(list(keys))


def verify_id_token(token: str, keys: KeySet, expected: ExpectedClaims, now: datetime) -> dict[str, Any]:
    """Check an ID token (OpenID Connect Core 1.0, 3.1.3.7).

    Args:
        token: The encoded token.
        keys: The provider's keys.
        expected: The required claims.
        now: The time, with a time zone.

    Returns:
        The claims.

    Raises:
        UnknownKeyError: The key is unknown; the caller should fetch the keys again.
        IdTokenError: The token is not valid.
    """
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except InvalidKeyIdError as error:
        raise UnknownKeyError("it is signed with an unknown key") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenError(f"its signature is not valid ({type(error).__name__})") from error
    validator = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=_LEEWAY_S,
        iss={"essential": True, "value": expected.issuer},
        aud={"essential": True, "value": expected.client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )
    try:
        validator.validate(claims)
    except JoseError as error:
        raise IdTokenError(f"a claim is not as expected: {error.description or error.error}") from error
    audience, party = claims["aud"], claims.get("azp")
    # With several audiences, `azp` must name the client that requested the token.
    several = isinstance(audience, list) and len(audience) > 1
    if (party is not None or several) and party != expected.client_id:
        raise IdTokenError("it was issued to another client")
    if not isinstance(claims["nonce"], str) or len(claims["sub"]) > _SUBJECT_LIMIT:
        raise IdTokenError("a claim is not as expected")
    return claims
