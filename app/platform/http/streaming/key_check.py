"""Checks from time to time whether the key of an open stream still allows it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from app.platform.db.database import DATABASE_ERRORS
from app.platform.http.streaming.wakeup_hub import DATABASE_TIMEOUT_S
from app.platform.identity.caller_authentication import CallerAuthenticator, Principal
from app.platform.kernel.errors import ForbiddenError, UnauthorisedError
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)


class KeyCheck:
    """Checks whether a key still allows a stream.

    Args:
        authenticator: Looks up the key.
        key: The API key or session token of the reader.
        allows: Returns whether the principal may have the stream; it may raise ForbiddenError.
    """

    def __init__(
        self, authenticator: CallerAuthenticator, key: str, allows: Callable[[Principal], bool]
    ) -> None:
        self._authenticator = authenticator
        self._key = key
        self._allows = allows

    async def __call__(self) -> bool:
        """Look up the key. While the database is unavailable, the stream continues: it reads nothing."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                principal = await self._authenticator.authenticate(self._key, datetime.now(UTC))
            return self._allows(principal)
        except (UnauthorisedError, ForbiddenError):
            return False
        except DATABASE_ERRORS as error:
            _log.warning("stream_key_not_checked", error=repr(error))
            return True
