"""Loads the rules on environmental indices with their sites and boxes, and stores the rules' states, in SQL.

One process evaluates them, and holds the ingest barrier open while it does
(`app.platform.db.ingest_barrier`). A change of a rule or the removal of a box deletes the states with the
barrier closed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.platform.db.database import RawConnection
from app.registry.cross_tenant_repository import list_site_boxes, read_sites
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.index_rules.index_selection import SiteLocality

WHOLE_SITE: Final = 0
"""The box key that stands for a whole site."""

type IndexStateKey = tuple[UUID, int]
"""The id of a rule, and the key of a box or WHOLE_SITE."""

_HAS_INDEX: Final = "jsonb_path_exists(definition, '$.levels[*].condition.**.index')"
_RULES: Final = f"""
SELECT id, version, organisation_id, site_id, name, definition::text AS definition, dry_run
FROM rules WHERE {_HAS_INDEX} AND enabled AND deleted_at IS NULL ORDER BY id
"""  # noqa: S608 (constants)
_STATES: Final = "SELECT rule_id, box_key, judged_us, state::text AS state FROM index_states"
_LOCK: Final = f"""
{_STATES} s JOIN unnest($1::uuid[], $2::integer[]) AS t (rule_id, box_key) USING (rule_id, box_key)
ORDER BY rule_id, box_key FOR UPDATE OF s
"""
_WRITE: Final = """
INSERT INTO index_states (rule_id, box_key, judged_us, state)
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]::jsonb[])
ON CONFLICT (rule_id, box_key) DO UPDATE SET judged_us = excluded.judged_us, state = excluded.state
"""
_BEGIN: Final = """
INSERT INTO index_states (rule_id, box_key, judged_us)
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[])
ON CONFLICT DO NOTHING
"""
_DELETE: Final = """
DELETE FROM index_states s USING unnest($1::uuid[], $2::integer[]) AS t (rule_id, box_key)
WHERE s.rule_id = t.rule_id AND s.box_key = t.box_key
"""


class IndexRuleState(NamedTuple):
    """The end of the newest evaluated period (µs), and the state (`app.rules.engine.alert_state_machine`)."""

    judged_us: int
    held: list[Any] | None


class IndexSite(NamedTuple):
    """A site with rules on indices.

    Attributes:
        place: its time zone and latitude.
        attributes: the attributes of the site.
        boxes: its boxes, their attributes merged over those of the site.
        rules: rows of `rules`, as `compile_rule` takes them.
    """

    place: SiteLocality
    attributes: Mapping[str, Any]
    boxes: Sequence[BoxFacts]
    rules: Sequence[Mapping[str, Any]]


async def read_registry_version(connection: RawConnection) -> int:
    """Read the version that increases with each change of a box, a site or a rule."""
    version: int = await connection.fetchval("SELECT version FROM registry")
    return version


async def load_index_sites(connection: RawConnection) -> list[IndexSite]:
    """Load all sites with enabled rules on indices."""
    rules: dict[UUID, list[dict[str, Any]]] = {}
    for row in await connection.fetch(_RULES):
        rule = dict(row) | {"definition": msgspec.json.decode(row["definition"])}
        rules.setdefault(row["site_id"], []).append(rule)
    if not rules:
        return []
    sites = {row["id"]: row for row in await read_sites(connection, rules)}
    common = {key: msgspec.json.decode(row["attributes"]) for key, row in sites.items()}
    boxes: dict[UUID, list[BoxFacts]] = {}
    for row in await list_site_boxes(connection, rules):
        facts = BoxFacts(
            row["key"],
            row["id"],
            row["interval_s"],
            row["kind"],
            frozenset(row["tags"]),
            {**common[row["site_id"]], **msgspec.json.decode(row["attributes"])},
        )
        boxes.setdefault(row["site_id"], []).append(facts)
    return [
        IndexSite(
            SiteLocality(sites[key]["timezone"], sites[key]["latitude"]),
            common[key],
            boxes.get(key, []),
            of_site,
        )
        for key, of_site in rules.items()
        if key in sites
    ]


async def load_states(connection: RawConnection) -> dict[IndexStateKey, IndexRuleState]:
    """Load the states of all rules on indices."""
    return _states(await connection.fetch(_STATES))


async def lock_states(
    connection: RawConnection, keys: Iterable[IndexStateKey]
) -> dict[IndexStateKey, IndexRuleState]:
    """Load some states, and lock them until the transaction ends."""
    return _states(await connection.fetch(_LOCK, *_split_keys(keys)))


async def insert_states(connection: RawConnection, states: Mapping[IndexStateKey, IndexRuleState]) -> None:
    """Insert states at rest for new rules; existing states do not change."""
    evaluated_until = [state.judged_us for state in states.values()]
    await connection.execute(_BEGIN, *_split_keys(states), evaluated_until)


async def write_states(connection: RawConnection, states: Mapping[IndexStateKey, IndexRuleState]) -> None:
    """Store the states of rules."""
    if states:
        held = [
            None if state.held is None else msgspec.json.encode(state.held).decode()
            for state in states.values()
        ]
        evaluated_until = [state.judged_us for state in states.values()]
        await connection.execute(_WRITE, *_split_keys(states), evaluated_until, held)


async def delete_states(connection: RawConnection, keys: Iterable[IndexStateKey]) -> None:
    """Delete the states of rules that no longer apply."""
    await connection.execute(_DELETE, *_split_keys(keys))


def _states(rows: Iterable[Any]) -> dict[IndexStateKey, IndexRuleState]:
    return {
        (row["rule_id"], row["box_key"]): IndexRuleState(
            row["judged_us"], None if row["state"] is None else msgspec.json.decode(row["state"])
        )
        for row in rows
    }


def _split_keys(keys: Iterable[IndexStateKey]) -> tuple[list[UUID], list[int]]:
    listed = list(keys)
    return [rule for rule, _ in listed], [box for _, box in listed]
