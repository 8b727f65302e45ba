"""Hashes passwords for Mosquitto's `password_file`, and verifies such hashes.

Only the format `$7$` (PBKDF2 with HMAC-SHA-512), the strongest that Mosquitto 2.0 supports. The owner of the
accounts writes the file.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

ITERATIONS = 101  # what Mosquitto's own tool writes: the passwords hashed here are 190 random bits or so
_SALT_BYTES = 12
_HASH_BYTES = 64
_FIELDS = 5


def hash_mosquitto_password(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Hash a password as `mosquitto_passwd` does.

    Args:
        password: any text; hashed as UTF-8.
        salt: 12 bytes; random by default.
        iterations: rounds of PBKDF2.

    Returns:
        `$7$<iterations>$<salt>$<hash>`, with salt and hash in base64, to follow `user:` in a password file.
    """
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, _HASH_BYTES)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def verify_mosquitto_password(password: str, hashed: str) -> bool:
    """Return whether `hashed` is the hash of `password`; False for any other format."""
    fields = hashed.split("$")
    if len(fields) != _FIELDS or fields[:2] != ["", "7"] or not fields[2].isdecimal():
        return False
    try:
        salt = base64.b64decode(fields[3], validate=True)
        again = hash_mosquitto_password(password, salt=salt, iterations=int(fields[2]))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(again, hashed)


def format_password_line(username: str, password: str) -> str:
    """Format one line of a password file, without its line end.

    Raises:
        ValueError: the name contains a colon, white space or a control character, which would end it early.
    """
    if not username or ":" in username or not username.isprintable() or any(c.isspace() for c in username):
        raise ValueError(f"{username!r} cannot be an MQTT username")
    return f"{username}:{hash_mosquitto_password(password)}"
