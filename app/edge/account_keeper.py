"""Keeps the accounts of the edge's own broker: writes its password file when accounts have changed.

A revoked box is cut off within two seconds on every edge: the API notifies, each edge rewrites its file, and
Mosquitto closes the connections whose password is no longer valid when it reads the file again.

Besides, each edge compares its file regularly, since an API that dies after its commit notifies nobody. That
takes the time of reading all accounts, so it comes the more rarely the longer it takes.
"""

import asyncio
import time
from typing import Final

from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.db.notification_listener import listen_for_wakeups, wait_for_event
from app.platform.observability.metrics_and_logs import get_logger, redact_error
from app.registry.broker_password_file import ACCOUNTS_CHANNEL, sync_password_file

_CHECK_EVERY_S: Final = 5.0
# A check takes at most this part of the time.
_CHECK_SHARE: Final = 0.02
# A broker that has not confirmed a change in time gets it again soon.
_LONGEST_WAIT_S: Final = 15.0
_RETRY_S: Final = 1.0
_log = get_logger(__name__)


async def keep_accounts(database: Database, broker: BrokerSettings) -> None:
    """Keep the password file up to date, until cancelled. Without a file the operator manages accounts."""
    if broker.password_file is None:
        _log.warning("edge_keeps_no_accounts", setting="VIGIE_BROKER__PASSWORD_FILE")
        return
    changed = asyncio.Event()
    listening = asyncio.create_task(listen_for_wakeups(database, changed.set, channel=ACCOUNTS_CHANNEL))
    try:
        while True:
            changed.clear()
            began = time.monotonic()
            try:
                await sync_password_file(database, broker, only_if_stale=True)
            except DATABASE_ERRORS as error:  # also a folder that cannot be written
                _log.warning("edge_accounts_not_written", error=redact_error(error))
                await asyncio.sleep(_RETRY_S)
                changed.set()
            took_s = time.monotonic() - began
            wait_s = min(max(_CHECK_EVERY_S, took_s / _CHECK_SHARE), _LONGEST_WAIT_S)
            await wait_for_event(changed, wait_s)
    finally:
        listening.cancel()
        await asyncio.wait((listening,))
