"""Publishes the numbers of boxes in the register, and allows two further formats of subscriptions."""

from typing import Final

from alembic import op

from migrations.isolation import API, DELIVER, grant

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE boxes IN ACCESS SHARE MODE"
_LOCK_SUBSCRIPTIONS: Final = "LOCK TABLE measurement_subscriptions IN ACCESS EXCLUSIVE MODE"
_CHECK: Final = "measurement_subscriptions_format_check"
_FORMATS: Final = "'json', 'cloudevents', 'senml', 'csv', 'influx'"
_NEW_FORMATS: Final = "'sensorthings', 'ngsi-ld'"
# The former program knows neither the formats nor their batches.
_WITHDRAW: Final = f"""
DELETE FROM measurement_batches WHERE state = 'pending' AND NOT is_replay AND subscription_id IN (
    SELECT id FROM measurement_subscriptions WHERE format IN ({_NEW_FORMATS})
)
"""  # noqa: S608 (constants)
_PAUSE: Final = f"""
UPDATE measurement_subscriptions SET format = 'json', leased_until = NULL,
    state = CASE WHEN state = 'active' THEN 'paused' ELSE state END
WHERE format IN ({_NEW_FORMATS})
"""  # noqa: S608 (constants)
# A view of its own: a role needs the privilege on each column of a view, and not all may read this one.
_VIEW: Final = """
CREATE VIEW registry_box_numbers WITH (security_invoker) AS SELECT key, register_number AS number FROM boxes
"""


def _allow_formats(formats: str) -> None:
    op.execute(
        f"ALTER TABLE measurement_subscriptions DROP CONSTRAINT {_CHECK}, "
        f"ADD CONSTRAINT {_CHECK} CHECK (format IN ({formats})) NOT VALID"
    )
    op.execute(f"ALTER TABLE measurement_subscriptions VALIDATE CONSTRAINT {_CHECK}")


def upgrade() -> None:
    """Create the view, for the roles that read the measurement stream."""
    op.execute(_LOCK)
    op.execute(_VIEW)
    grant("SELECT", "registry_box_numbers", API, DELIVER)
    grant("SELECT (register_number)", "boxes", DELIVER)
    _allow_formats(f"{_FORMATS}, {_NEW_FORMATS}")


def downgrade() -> None:
    """Drop the view. Subscriptions of the two formats are paused, with the format `json`.

    They stay so after another upgrade: give them their format again with `PATCH`, then resume them.
    """
    op.execute(_LOCK_SUBSCRIPTIONS)
    op.execute(_WITHDRAW)
    op.execute(_PAUSE)
    _allow_formats(_FORMATS)
    op.execute(f"REVOKE SELECT (register_number) ON boxes FROM {DELIVER}")  # noqa: S608 (constants)
    op.execute("DROP VIEW registry_box_numbers")
