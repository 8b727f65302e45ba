"""Adds columns with which the consumer caches the state of boxes.

Before, each batch locked, read and wrote the states of its boxes. From now on the consumer caches them and
writes them from time to time. `newest_us` is the time up to which `latest` is complete; newer values are read
from `samples`. Boxes that also send by HTTP are shared between processes until `shared_until`: each batch
still locks and writes their states, so their rows are `exact`.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The number is INGEST_BARRIER of app.platform.db.advisory_lock_keys. It is one statement, so that no caller
# can be suspended between its steps. Boxes are locked before the registry's row, which a trigger of the
# update locks: other changes of a box lock in the same order.
_SHARE = """
CREATE FUNCTION share_boxes(keys integer[], until timestamptz) RETURNS void
LANGUAGE sql SET lock_timeout = '5s' AS $$
    SELECT pg_advisory_xact_lock(7309021178);
    SELECT FROM boxes WHERE key = ANY (keys) ORDER BY key FOR NO KEY UPDATE;
    UPDATE boxes SET shared_until = greatest(until, shared_until) WHERE key = ANY (keys);
    UPDATE box_states SET exact = false WHERE box_key = ANY (keys);
$$
"""

_TRIGGERS = (
    """
CREATE TRIGGER registry_next BEFORE INSERT OR UPDATE OF {columns} ON boxes
FOR EACH STATEMENT EXECUTE FUNCTION registry_next()
""",
    """
CREATE TRIGGER registry_stamp BEFORE INSERT OR UPDATE OF {columns} ON boxes
FOR EACH ROW EXECUTE FUNCTION registry_stamp()
""",
)
_BEFORE = "id, organisation_id, site_id, interval_s, ack, deleted_at"


def _watch(columns: str) -> None:
    for name, create in zip(("registry_next", "registry_stamp"), _TRIGGERS, strict=True):
        op.execute(f"DROP TRIGGER {name} ON boxes")
        op.execute(create.format(columns=columns))


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE box_states
            ADD COLUMN newest_us bigint,
            ADD COLUMN last_sample_at timestamptz,
            ADD COLUMN samples bigint NOT NULL DEFAULT 0,
            ADD COLUMN late bigint NOT NULL DEFAULT 0,
            ADD COLUMN clock_skew_ms double precision,
            ADD COLUMN exact boolean NOT NULL DEFAULT false
        """
    )
    # The newest sample of a box updated at least one of its metrics. Its arrival was not stored.
    op.execute(
        """
        UPDATE box_states b
        SET newest_us = n.us, last_sample_at = 'epoch'::timestamptz + n.us * interval '1 microsecond'
        FROM (
            SELECT s.box_key, max((e.value ->> 1)::bigint) AS us
            FROM box_states s, jsonb_each(s.latest) AS e
            GROUP BY s.box_key
        ) n
        WHERE n.box_key = b.box_key
        """
    )
    op.execute("ALTER TABLE boxes ADD COLUMN shared_until timestamptz")
    _watch(f"{_BEFORE}, shared_until")
    op.execute(_SHARE)


def downgrade() -> None:
    op.execute("DROP FUNCTION share_boxes(integer[], timestamptz)")
    _watch(_BEFORE)
    op.execute("ALTER TABLE boxes DROP COLUMN shared_until")
    op.execute(
        "ALTER TABLE box_states DROP COLUMN newest_us, DROP COLUMN last_sample_at, DROP COLUMN samples, "
        "DROP COLUMN late, DROP COLUMN clock_skew_ms, DROP COLUMN exact"
    )
