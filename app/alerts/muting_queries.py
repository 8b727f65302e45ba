"""Finds the alerts that silences and inhibitions mute now, and those with a reminder or escalation due.

Matchers are `{"site_ids", "boxes", "rule_ids", "metrics", "severities", "tags"}`: an alert matches if it
matches one entry of every given list. A property that an alert lacks matches no list (such as the box, for a
rule on a whole site).

Alerts that match both sides of an inhibition do not mute each other, nor themselves: else neither would
notify. Several inhibitions can form a cycle with the same effect; `app.alerts.inhibition_cycle_breaking`
breaks it. Only doubtful alerts need that check: they inhibit others, and only less severe or younger ones
mute them. Every cycle has one, and they are rare.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from app.alerts.inhibition_cycle_breaking import InhibitionSide, find_muters_outside_cycles
from app.platform.db.database import RawConnection
from app.rules.definitions.severity import SEVERITIES

# List → type of its entries, and the column of the alert that is compared with them; `tags` is an array.
_LISTS: Final = {
    "site_ids": ("uuid", "site_id"),
    "boxes": ("text", "box"),
    "rule_ids": ("uuid", "rule_id"),
    "metrics": ("text", "metric"),
    "severities": ("text", "severity"),
    "tags": ("text", "tags"),
}
# Muting alerts that are stored with an alert. In a storm, thousands could mute each of thousands.
_SHOWN: Final = 10


def matcher_columns_sql(matchers: str, prefix: str = "") -> str:
    """Build the SQL that turns matchers (a jsonb expression) into array columns, for fast comparison."""
    return ", ".join(
        f"CASE WHEN {matchers} ? '{name}' THEN "
        f"ARRAY(SELECT jsonb_array_elements_text({matchers} -> '{name}'))::{kind}[] END AS {prefix}{name}"
        for name, (kind, _) in _LISTS.items()
    )


def matcher_condition_sql(matchers: str, alert: str) -> str:
    """Build the SQL condition that an alert matches.

    Args:
        matchers: the prefix of the columns of `matcher_columns_sql`, such as `s.` or `i.source_`.
        alert: the alias of a row of `MATCHABLE_ALERTS`.
    """
    each = []
    for name, (_, column) in _LISTS.items():
        fits = "&&" if name == "tags" else "= ANY"
        each.append(f"({matchers}{name} IS NULL OR {alert}.{column} {fits} ({matchers}{name}))")
    return f"coalesce({' AND '.join(each)}, false)"


MATCHABLE_ALERTS: Final = """
SELECT a.id, a.organisation_id, a.site_id, a.box_key, a.box, a.rule_id, a.metric, a.severity, a.state, b.tags
FROM alerts a LEFT JOIN registry_boxes b ON b.key = a.box_key
WHERE NOT a.dry_run
"""
"""Selects alerts that may notify, with the columns that matchers compare. Conditions may be appended."""

SILENCE_IN_FORCE: Final = """
s.starts_at <= now() AND coalesce(s.ends_at, 'infinity') > now()
AND (s.schedule IS NULL OR (s.window_start <= now() AND coalesce(s.window_end, 'infinity') > now()))
"""
"""The condition that a row `s` of `silences` mutes now."""

# The values of the fields that both alerts must share, as one text.
_KEY: Final = """
jsonb_build_array(
    CASE WHEN 'site' = ANY (i.equal) THEN {0}.site_id::text END,
    CASE WHEN 'box' = ANY (i.equal) THEN {0}.box_key END,
    CASE WHEN 'metric' = ANY (i.equal) THEN {0}.metric END
)
"""
_RANK: Final = f"array_position(ARRAY[{', '.join(repr(each) for each in SEVERITIES)}], {{0}}.severity)"
# `targets` (rows of MATCHABLE_ALERTS) comes first. Sources are searched only for inhibitions with a target
# and grouped before the join: joining thousands of firing alerts with each other would take too long.
_MUTED: Final = f"""
in_force AS MATERIALIZED (
    SELECT s.id, s.organisation_id, {matcher_columns_sql("s.matchers")} FROM silences s
    WHERE s.organisation_id IN (SELECT organisation_id FROM targets) AND {SILENCE_IN_FORCE}
),
silenced AS (
    SELECT t.id, jsonb_agg(s.id ORDER BY s.id) AS silences
    FROM targets t JOIN in_force s ON s.organisation_id = t.organisation_id
    WHERE {matcher_condition_sql("s.", "t")}
    GROUP BY t.id
),
sides AS MATERIALIZED (
    SELECT i.id, i.organisation_id, i.equal, {matcher_columns_sql("i.source", "source_")},
    {matcher_columns_sql("i.target", "target_")}
    FROM inhibitions i WHERE i.organisation_id IN (SELECT organisation_id FROM targets)
),
aimed AS MATERIALIZED (
    SELECT t.id, i.id AS inhibition, {_KEY.format("t")} AS key, {matcher_condition_sql("i.source_", "t")} AS
    also_source,
           {_RANK.format("t")} AS rank
    FROM targets t JOIN sides i ON i.organisation_id = t.organisation_id AND
    {matcher_condition_sql("i.target_", "t")}
),
sources AS MATERIALIZED (
    SELECT i.id AS inhibition, {_KEY.format("o")} AS key, {matcher_condition_sql("i.target_", "o")} AS
    also_target,
           {_RANK.format("o")} AS rank, (array_agg(o.id ORDER BY o.id))[1:{_SHOWN}] AS ids
    FROM sides i JOIN ({MATCHABLE_ALERTS} AND a.state = 'firing') o ON o.organisation_id = i.organisation_id
    WHERE i.id IN (SELECT inhibition FROM aimed) AND {matcher_condition_sql("i.source_", "o")}
    GROUP BY 1, 2, 3, 4
),
meets AS (
    SELECT t.id, one, o.rank > t.rank OR (o.rank = t.rank AND one < t.id) AS graver
    FROM aimed t
    JOIN sources o ON o.inhibition = t.inhibition AND o.key = t.key AND NOT (o.also_target AND t.also_source)
    CROSS JOIN LATERAL unnest(o.ids) AS one
),
inhibited AS (
    SELECT id, bool_or(graver) AS graver, to_jsonb((coalesce(
        array_agg(DISTINCT one ORDER BY one) FILTER (WHERE graver), array_agg(DISTINCT one ORDER BY one)
    ))[1:{_SHOWN}]) AS inhibited_by
    FROM meets GROUP BY id
),
muted AS (
    SELECT m.id, jsonb_build_object(
        'silences', coalesce(silences, '[]'), 'inhibited_by', coalesce(inhibited_by, '[]')
    ) AS suppressed, CASE WHEN NOT graver THEN EXISTS (
        SELECT FROM targets t JOIN sides i ON i.organisation_id = t.organisation_id
        WHERE t.id = m.id AND t.state = 'firing' AND {matcher_condition_sql("i.source_", "t")}
    ) ELSE false END AS doubtful
    FROM silenced FULL JOIN inhibited USING (id) AS m
)
"""  # noqa: S608 (texts of ours)
_TARGETS: Final = f"WITH targets AS MATERIALIZED ({MATCHABLE_ALERTS} AND a.id = ANY ($1::uuid[])), {_MUTED}"
_MUTED_OF_TARGETS: Final = f"{_TARGETS} SELECT id, suppressed::text, doubtful FROM muted"  # noqa: S608 (texts of ours)

_IS_DUE: Final = """
a.acknowledged_at IS NULL AND a.suppressed IS NULL
AND (a.escalate_at IS NOT NULL OR a.remind_at IS NOT NULL) AND least(a.escalate_at, a.remind_at) <= now()
"""
# Muted alerts have no due timers, as in the condition of the partial index.
_CHANGED: Final = f"""
{_TARGETS}
SELECT a.id, m.suppressed::text, coalesce(m.doubtful, false) AS doubtful, a.suppressed::text AS held,
       coalesce({_IS_DUE}, false) AS due
FROM targets JOIN alerts a USING (id) LEFT JOIN muted m USING (id)
WHERE ({_IS_DUE}) OR m.doubtful OR a.suppressed IS DISTINCT FROM m.suppressed
"""  # noqa: S608 (texts of ours)
_CONCERNED: Final = f"""
WITH may_mute AS MATERIALIZED (
    SELECT s.organisation_id FROM silences s WHERE {SILENCE_IN_FORCE} UNION SELECT organisation_id FROM
    inhibitions
)
SELECT a.organisation_id, a.id FROM alerts a JOIN may_mute USING (organisation_id)
WHERE a.state = 'firing' AND NOT a.dry_run
UNION
SELECT a.organisation_id, a.id FROM alerts a
WHERE a.state = 'firing' AND a.suppressed IS NOT NULL AND NOT a.dry_run
UNION
SELECT a.organisation_id, a.id FROM alerts a WHERE a.state = 'firing' AND {_IS_DUE} AND NOT a.dry_run
ORDER BY 1, 2
"""  # noqa: S608 (texts of ours)
# Up to this number of sides, an ingest batch breaks cycles itself.
_MAX_SIDES_IN_BATCH: Final = 5_000
_SIDES: Final = f"""
WITH sides AS MATERIALIZED (
    SELECT i.id, i.organisation_id, i.equal, {matcher_columns_sql("i.source", "source_")},
    {matcher_columns_sql("i.target", "target_")}
    FROM inhibitions i
    WHERE i.organisation_id IN (SELECT organisation_id FROM alerts WHERE id = ANY ($1::uuid[]))
)
SELECT * FROM (
    SELECT i.id AS inhibition, {_KEY.format("o")}::text AS key, o.id AS alert,
           {matcher_condition_sql("i.source_", "o")} AS source, {matcher_condition_sql("i.target_", "o")} AS
           target
    FROM sides i JOIN ({MATCHABLE_ALERTS} AND a.state = 'firing') o ON o.organisation_id = i.organisation_id
) AS matched WHERE source OR target
"""  # noqa: S608 (texts of ours)

SILENCED_CONDITION: Final = f"""
alerts.id IN (
    SELECT t.id FROM ({MATCHABLE_ALERTS} AND a.state = 'firing') t
    JOIN (
        SELECT s.organisation_id, {matcher_columns_sql("s.matchers")} FROM silences s WHERE s.id = :silence
        AND {SILENCE_IN_FORCE}
    ) m ON m.organisation_id = t.organisation_id AND {matcher_condition_sql("m.", "t")}
)
"""  # noqa: S608 (texts of ours)
"""The SQLAlchemy condition that the silence `:silence` mutes an alert now."""


COUNT_MATCHING: Final = f"""
SELECT count(*) FROM ({MATCHABLE_ALERTS} AND a.state = 'firing') t
JOIN (SELECT s.organisation_id, {matcher_columns_sql("s.matchers")} FROM silences s WHERE s.id = :silence) m
    ON m.organisation_id = t.organisation_id AND {matcher_condition_sql("m.", "t")}
"""  # noqa: S608 (texts of ours)
"""The SQLAlchemy query that counts the firing alerts that the silence `:silence` matches, active or not."""


async def find_muted(
    connection: RawConnection, alert_ids: Sequence[UUID], *, is_ingest: bool = False
) -> dict[UUID, dict[str, Any]]:
    """Return `suppressed` of each of these alerts that is muted, firing or not.

    Args:
        connection: Reads them.
        alert_ids: The alerts.
        is_ingest: Whether a batch of ingest waits: then cycles of very many inhibitions are left to the
            alert timers.
    """
    rows = await connection.fetch(_MUTED_OF_TARGETS, alert_ids)
    return await _break_cycles(connection, rows, limit=_MAX_SIDES_IN_BATCH if is_ingest else None)


async def find_alerts_to_check(connection: RawConnection) -> list[tuple[UUID, UUID]]:
    """Find the firing alerts that timers may change: muted ones, candidates for muting, and due ones.

    Returns:
        Organisation and alert of each, ordered by organisation.
    """
    return [(row["organisation_id"], row["id"]) for row in await connection.fetch(_CONCERNED)]


async def find_due_alerts(connection: RawConnection, alert_ids: Sequence[UUID]) -> list[UUID]:
    """Select the firing alerts with a due timer or an outdated `suppressed`, in the order of their ids."""
    rows = await connection.fetch(_CHANGED, alert_ids)
    muted = await _break_cycles(connection, [row for row in rows if row["suppressed"] is not None])
    return sorted(
        row["id"]
        for row in rows
        if row["due"] or muted.get(row["id"]) != (row["held"] and msgspec.json.decode(row["held"]))
    )


async def _break_cycles(
    connection: RawConnection, rows: Sequence[Any], *, limit: int | None = None
) -> dict[UUID, dict[str, Any]]:
    """Return what mutes each alert, without cycles of inhibitions.

    Beyond `limit` sides, cycles are left: an ingest batch must not wait, and the alert timers break them
    within seconds.
    """
    found: dict[UUID, dict[str, Any]] = {row["id"]: msgspec.json.decode(row["suppressed"]) for row in rows}
    doubtful = [row["id"] for row in rows if row["doubtful"]]
    if not doubtful:
        return found
    rows = await connection.fetch(f"{_SIDES} LIMIT $2", doubtful, None if limit is None else limit + 1)
    if limit is not None and len(rows) > limit:
        return found
    sides = [InhibitionSide(*row) for row in rows]
    for identifier, sources in find_muters_outside_cycles(sides, doubtful, _SHOWN).items():
        found[identifier]["inhibited_by"] = [str(source) for source in sources]
        if not sources and not found[identifier]["silences"]:
            del found[identifier]
    return found


_FIRING: Final = """
SELECT count(*) AS firing, count(*) FILTER (WHERE suppressed -> 'silences' <> '[]') AS silence,
    count(*) FILTER (WHERE suppressed -> 'inhibited_by' <> '[]') AS inhibition
FROM alerts WHERE state = 'firing' AND NOT dry_run
"""


async def count_firing_alerts(connection: RawConnection) -> asyncpg.Record:
    """Count the firing alerts of all tenants: `firing`, and those muted by a `silence` or an `inhibition`."""
    (row,) = await connection.fetch(_FIRING)
    return row
