"""ID tokens of OpenID Connect: whether one is the provider's, for us, for this sign-in, and still good. Pure.

Signatures of the provider's own keys alone: neither none, nor one made with a secret that both sides know.
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
    """An ID token is refused; the text says why, and shows nothing of it."""


class UnknownKeyError(IdTokenError):
    """It is signed with a key that is not among the provider's: it may have a new one."""


class ExpectedClaims(NamedTuple):
    """What an ID token has to say.

    Attributes:
        issuer: Who made it.
        client_id: For whom.
        nonce: For which sign-in.
    """

    issuer: str
    client_id: str
    nonce: str


def parse_signing_keys(document: Mapping[str, Any]) -> KeySet:
    """Read a provider's keys (RFC 7517), without those that sign nothing here.

    Raises:
        IdTokenError: None of them is of use.
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
        token: As the provider gave it.
        keys: The provider's.
        expected: What it has to say.
        now: The time, aware.

    Returns:
        Its claims.

    Raises:
        UnknownKeyError: Ask for the provider's keys again.
        IdTokenError: It is refused.
    """
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except InvalidKeyIdError as error:
        raise UnknownKeyError("it is signed with an unknown key") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenError(f"its signature is not valid ({type(error).__name__})") from error
    wanted = jwt.JWTClaimsRegistry(
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
        wanted.validate(claims)
    except JoseError as error:
        raise IdTokenError(f"a claim is not as expected: {error.description or error.error}") from error
    audience, party = claims["aud"], claims.get("azp")
    # Of several whom it is for, one asked for it.
    several = isinstance(audience, list) and len(audience) > 1
    if (party is not None or several) and party != expected.client_id:
        raise IdTokenError("another client asked for it")
    if not isinstance(claims["nonce"], str) or len(claims["sub"]) > _SUBJECT_LIMIT:
        raise IdTokenError("a claim is not as expected")
    return claims
