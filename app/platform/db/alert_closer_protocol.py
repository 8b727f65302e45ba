"""Defines the protocol `AlertCloser`, by which other packages close alerts without importing `app.alerts`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import Depends, Request

from app.platform.db.database import WriteSession
from app.platform.kernel.application_resources import get_resource


class AlertCloser(Protocol):
    """Closes the firing alerts of a rule or a box that is removed.

    Call it in the transaction of the change, which closes the ingest barrier
    (`app.platform.db.ingest_barrier`) **before** it locks or writes anything: it waits for running batches,
    and every later batch sees the change.
    """

    async def __call__(
        self,
        session: WriteSession,
        *,
        reason: str,
        now: datetime,
        rule_id: UUID | None = None,
        box_keys: Sequence[int] | None = None,
    ) -> int:
        """Resolve firing alerts and delete their state.

        Args:
            session: the transaction of the change.
            reason: the alerts' `resolution`: `rule_deleted`, `rule_changed`, `rule_disabled`, `box_deleted`,
                `box_moved`.
            now: the alerts' `resolved_at`.
            rule_id: only alerts of this rule.
            box_keys: only alerts of these boxes. At least one of the two must be given.

        Returns:
            How many alerts were closed.
        """
        ...


@dataclass(frozen=True, slots=True)
class AlertClosing:
    """Holds the closer that the application provides: a protocol has no type to provide it under."""

    close_alerts: AlertCloser


async def _get_alert_closer(request: Request) -> AlertCloser:
    return get_resource(request.app, AlertClosing).close_alerts


AlertCloserDependency = Annotated[AlertCloser, Depends(_get_alert_closer)]
