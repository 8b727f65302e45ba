"""Calls that go up: what a lower room needs of a higher one, as protocols.

The composition root (`app.processes.api`) puts the implementations into `app.state`; rooms must not import
them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.platform.db.database import WriteSession


class AlertCloser(Protocol):
    """Closes the firing alerts of a rule or a box that goes away (`app.state.close_alerts`).

    Call it in the transaction of the change, which closes the gate (`app.platform.db.ingest_barrier`)
    **before** it locks or writes anything: it waits for the batches under way, and every later batch sees
    the change.
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
        """Resolve firing alerts and forget the state behind them.

        Args:
            session: the transaction of the change.
            reason: becomes the alerts' `resolution`: `rule_deleted`, `rule_changed`, `rule_disabled`,
                `box_deleted`, `box_moved`.
            now: becomes their `resolved_at`.
            rule_id: of this rule.
            box_keys: of these boxes. With both, of this rule on these; one at least must be given.

        Returns:
            How many alerts were closed.
        """
        ...
