"""Notifies an organisation that its subscription fails for long, or was disabled.

The notice is written in the transaction of the change. The organisation's endpoints get it like one about
another endpoint.
"""

from app.measurement_stream.subscriptions.leased_subscription import LeasedSubscription
from app.measurement_stream.subscriptions.prometheus_metrics import SUBSCRIPTION_NOTICES_SENT
from app.notifications.delivery.endpoint_health import HealthAction
from app.notifications.events.event_types import SUBSCRIPTION_DISABLED, SUBSCRIPTION_FAILING
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)


async def enqueue_notice(
    connection: RawConnection, subscription: LeasedSubscription, reason: str
) -> OutboxRecord:
    """Write a notice. It names neither the address nor the answers of the sink, which may be secret.

    Args:
        connection: In the transaction of the change.
        subscription: The subscription with its new health.
        reason: `HealthAction.WARN`, or why it was disabled.
    """
    is_warning = reason == HealthAction.WARN
    health = subscription.health
    data = {
        "subscription_id": subscription.id,
        "organisation_id": subscription.organisation_id,
        "name": subscription.row["name"],
        "sink": subscription.row["sink"],
        "reason": str(HealthAction.DISABLE_FAILING) if is_warning else reason,
        "failing_since": health.failing_since,
        "last_reason": health.last_reason,
        "last_status": health.last_status,
    }
    type_ = SUBSCRIPTION_FAILING if is_warning else SUBSCRIPTION_DISABLED
    record = OutboxRecord(new_id(), subscription.organisation_id, None, type_, data, subscription.now)
    await enqueue_events(connection, [record])
    return record


async def announce_notice(connection: RawConnection, notice: OutboxRecord) -> None:
    """Count and log a committed notice, and wake the dispatcher, which would find it at its next poll too."""
    SUBSCRIPTION_NOTICES_SENT.labels(notice.type).inc()
    data = notice.payload
    _log.warning(
        "subscription_notice",
        type=notice.type,
        subscription=str(data["subscription_id"]),
        reason=data["reason"],
    )
    await wake_dispatcher(connection)
