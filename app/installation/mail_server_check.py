"""Test mails: what is in them, how they are sent, and how many at once."""

import time
from collections import deque
from datetime import datetime
from typing import Final
from uuid import UUID

from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_rendering import render_mail
from app.notifications.email.mime_message import DeliveryHeaders
from app.notifications.events.event_types import TEST_EVENT
from app.platform.runtime.stored_settings import InstallationSettings

TEST_LIMIT: Final = 5
"""Of a process, within the window."""

TEST_WINDOW_S: Final = 60
"""That window, in seconds."""

_BODY: Final = f'{{"type":"{TEST_EVENT}","data":{{}}}}'.encode()


class TestMailLimiter:
    """Counts the test mails of a process."""

    __test__ = False  # pytest takes classes of this name for tests

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    def allows(self) -> bool:
        """Count one more; False where there were too many."""
        now = time.monotonic()
        while self._sent and self._sent[0] <= now - TEST_WINDOW_S:
            self._sent.popleft()
        if len(self._sent) >= TEST_LIMIT:
            return False
        self._sent.append(now)
        return True


async def send_test_mail(
    installation: InstallationSettings, to: str, identifier: UUID, now: datetime
) -> AttemptOutcome:
    """Send a test mail, and say what came of it."""
    async with EmailTransport(installation.smtp, installation) as mailer:
        body = render_mail(_BODY, "en", {})
        return await mailer.post(body, [to], DeliveryHeaders(build_message_id(identifier), TEST_EVENT), now)
