"""What was removed, as one hash: it tells later whether a list is just that, and keeps none of it. Pure.

    chain = sha256(chain || line)      beginning with 32 zero bytes; one line for each identity, in UTF-8

Lines are `samples BOX TIME` and `events BOX TIME TYPE`, times in RFC 3339 with six digits: box by box in the
order of their registration, of each its samples by time, then its events by time and type. A chain can be
taken up where it was left, so it does not depend on how the work was cut.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

EMPTY_REMOVAL_DIGEST: Final = bytes(32).hex()
"""The chain of nothing."""


def extend_removal_digest(chain: str, lines: Iterable[str]) -> str:
    """A chain with more lines; both as hexadecimal digits."""
    known = bytes.fromhex(chain)
    for line in lines:
        known = hashlib.sha256(known + line.encode()).digest()
    return known.hex()
