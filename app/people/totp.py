"""Generates the secrets of authenticator apps, and checks their codes (TOTP, RFC 6238). Pure."""

from datetime import datetime
from typing import Final

import pyotp
from pyotp.exceptions import OTPVerificationError

ISSUER: Final = "Vigie"
"""The name that authenticator apps show beside the account."""

# Half a minute early or late, for clocks that differ (RFC 6238, 5.2).
_WINDOW_STEPS: Final = 1


def generate_totp_secret() -> str:
    """Generate a random secret of 160 bits, in base32."""
    return pyotp.random_base32()


def make_totp_uri(secret: str, account: str) -> str:
    """Make the `otpauth://` URI of a secret, which authenticator apps scan as a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def find_totp_step(secret: str, code: str, now: datetime, last_step: int | None) -> int | None:
    """Find the time step of a code; None if the code is wrong or was used already.

    Args:
        secret: The secret, in base32.
        code: The six digits.
        now: The time, with a time zone.
        last_step: The time step of the last accepted code; None: no code was accepted yet.
    """
    try:
        step = pyotp.TOTP(secret).verify_and_get_timecode(code, for_time=now, valid_window=_WINDOW_STEPS)
    except OTPVerificationError:
        return None
    return step if last_step is None or step > last_step else None
