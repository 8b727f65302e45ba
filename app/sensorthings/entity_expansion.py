"""Formats entities with what `$expand` adds to them, level by level."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import ARRAY, Integer, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.catalogue.sensorthings_ids import make_observation_id
from app.platform.db.database import ReadSession
from app.platform.identity.grant_access import count_granted_values
from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.sensorthings.entity_json import EntityFormatter
from app.sensorthings.entity_model import (
    DATASTREAM,
    OBSERVATION,
    EntityKey,
    EntityType,
    get_target,
    is_collection,
)
from app.sensorthings.entity_queries import FoundEntity, LinkedEntities, common_key, read_linked
from app.sensorthings.observation_collections import ObservationFilter, ObservationReader
from app.sensorthings.observation_queries import (
    FoundObservation,
    ObservationQuery,
    count_observations,
    current_time_us,
    is_latest_query,
    read_latest,
    read_observations,
)
from app.sensorthings.observed_series import ObservedSeries, find_shown_from
from app.sensorthings.page_tokens import encode_token
from app.sensorthings.query_options import DEFAULT_TOP, MAX_TOP
from app.sensorthings.query_text import format_options, format_query
from app.sensorthings.query_tree import QueryOptions
from app.sensorthings.relations import PURPOSES, link_columns, match_keys
from app.standard_apis.query_error import QueryError
from app.timeseries.quality.annotated_readings import annotate_readings
from app.timeseries.quality.quality_parameters import QualityOptions
from app.timeseries.series.reading_queries import SampledBox

MOST_ENTITIES: Final = 20_000
"""The most entities of a response, with all that is expanded."""
_MOST_DATASTREAMS: Final = 500
_MOST_FLAGGED_SAMPLES: Final = 200_000
_FLAGS: Final = QualityOptions.of(flags=True, exclude=None, corrected=False, bucketed=False)
_WITH_PURPOSES: Final = frozenset({"Thing", "Datastream"})
_BEGINS: Final = text("""
SELECT k.key, k.metric, least(CASE WHEN k.since IS NOT NULL THEN (
    SELECT s.time FROM tenant_samples s WHERE s.box_key = k.key AND s.time >= k.since
        AND s.time < date_trunc('hour', k.since, 'UTC') + interval '1 hour'
        AND to_jsonb(s) ->> k.metric IS NOT NULL
    ORDER BY s.time LIMIT 1
) END, coalesce(
    (
        SELECT shown.begins FROM tenant_hourly h, LATERAL (
            SELECT min(h.day + (u.n - 1) * interval '1 hour') AS begins
            FROM unnest(h.count) WITH ORDINALITY AS u (count, n)
            WHERE u.count > 0 AND h.day + (u.n - 1) * interval '1 hour' >= k.from_hour
        ) shown
        -- The first days may have only hours that the caller must not see.
        WHERE h.box_key = k.key AND h.metric = k.metric AND h.day > k.from_hour - interval '1 day'
            AND shown.begins IS NOT NULL
        ORDER BY h.day LIMIT 1
    ),
    (SELECT min(m.hour) FROM rollup_marks m WHERE m.box_key = k.key)
)) AS begins
FROM (
    SELECT key, metric, since, coalesce(since, '-infinity') AS from_hour
    FROM unnest(:keys, :metrics, :sinces) AS given (key, metric, since)
) k
""").bindparams(
    bindparam("keys", type_=ARRAY(Integer)),
    bindparam("metrics", type_=ARRAY(Text)),
    bindparam("sinces", type_=ARRAY(TIMESTAMP(timezone=True))),
)


class _Parents(NamedTuple):
    """Entities of one type with their JSON, to which the expansion of a link is added.

    `copies` says how often each appears in the response: several entities may link to the same one.
    """

    entity: EntityType
    keys: Sequence[EntityKey]
    ids: Sequence[str]
    formatted: Sequence[dict[str, Any]]
    copies: Sequence[int]


@dataclass(slots=True)
class EntityExpander:
    """Formats the entities of one response.

    Attributes:
        session: reads what is expanded.
        formatter: makes their JSON.
        grant: the limits of a third party that reads by a grant; None for all others.
        budget: how many entities the response may still have.
    """

    session: ReadSession
    formatter: EntityFormatter
    grant: GrantLimits | None = None
    budget: int = MOST_ENTITIES
    now_us: int = field(default_factory=current_time_us)

    def spend(self, count: int) -> None:
        """Count entities of the response (QueryError `query_too_large`)."""
        self.budget -= count
        if self.budget < 0:
            raise QueryError(
                f"The response would have more than {MOST_ENTITIES:,} entities. Ask for less: a smaller "
                "$top, or less in $expand.",
                code="query_too_large",
                option="$expand",
            )

    async def format_entities(
        self,
        entity: EntityType,
        found: Sequence[FoundEntity],
        options: QueryOptions,
        copies: Sequence[int] | None = None,
    ) -> list[dict[str, Any]]:
        """Format entities that are no Observations, with what they expand.

        Args:
            entity: their type.
            found: the entities.
            options: of the collection.
            copies: how often each appears in the response; None: once.
        """
        copies = [1] * len(found) if copies is None else copies
        self.spend(sum(copies))
        count_granted_values(
            len(found),
            sites=(each.row.get("site_id") for each in found),
            metrics=(each.row["metric"] for each in found if "metric" in each.row),
        )
        if entity.name in _WITH_PURPOSES and options.selects("properties"):
            await self._read_purposes([each.row["site_id"] for each in found])
        if entity is DATASTREAM and (options.selects("phenomenonTime") or options.selects("resultTime")):
            found = await self._with_begins(found)
        formatted = [self.formatter.format(entity, each.row, options) for each in found]
        ids = [each.row["$id"] for each in found]
        parents = _Parents(entity, [each.key for each in found], ids, formatted, copies)
        await self._expand(parents, options, found)
        return formatted

    async def format_observations(
        self, found: Sequence[FoundObservation], options: QueryOptions, *, flagged: bool, copies: int = 1
    ) -> list[dict[str, Any]]:
        """Format Observations; `flagged` adds the quality flags of each.

        Each appears `copies` times in the response.

        Raises:
            ForbiddenError: `quality_not_granted`.
        """
        self.spend(copies * len(found))
        count_granted_values(
            len(found),
            sites={each.series.site_id for each in found},
            metrics={each.series.metric.name for each in found},
        )
        if self.grant is not None:
            flagged = self._omit_flags(options)
        flags = await self._read_flags(found) if flagged else {}
        formatted = [
            self.formatter.format_observation(
                each.series.id,
                each.time_us,
                each.result,
                hourly=each.series.hourly,
                flags=flags.get((each.series.id, each.time_us)),
                options=options,
            )
            for each in found
        ]
        keys = [EntityKey(each.series.box_key, each.series.metric.name, each.series.hourly) for each in found]
        ids = [make_observation_id(each.series.id, each.time_us) for each in found]
        await self._expand(_Parents(OBSERVATION, keys, ids, formatted, [copies] * len(found)), options)
        return formatted

    @staticmethod
    def _omit_flags(options: QueryOptions) -> Literal[False]:
        """Leave out quality flags: they depend on values that a grant may not include."""
        if options.select is not None and options.selects("resultQuality"):
            raise ForbiddenError(
                "`resultQuality` uses values that a grant may not include. Omit it.",
                code="quality_not_granted",
            )
        return False

    async def _read_purposes(self, sites: Sequence[Any]) -> None:
        missing = set(sites) - self.formatter.purposes.keys()
        if not missing:
            return
        statement = (
            select(PURPOSES).where(match_keys(PURPOSES.c.site_id, missing)).order_by(PURPOSES.c.purpose)
        )
        known: dict[Any, list[Any]] = {site: [] for site in missing}
        for row in (await self.session.execute(statement)).mappings():
            if self.grant is None or row["purpose"] in self._granted_purposes(self.grant):
                known[row["site_id"]].append(row)
        self.formatter.purposes = {**self.formatter.purposes, **known}

    @staticmethod
    def _granted_purposes(grant: GrantLimits) -> frozenset[str]:
        return frozenset(PURPOSE_BY_METRIC[name] for name in grant.metrics)

    async def _with_begins(self, found: Sequence[FoundEntity]) -> list[FoundEntity]:
        sinces = {(each.row["box_key"], each.row["metric"]): find_shown_from(each.row) for each in found}
        if not sinces:
            return []
        keys, metrics = zip(*sorted(sinces), strict=True)
        values = {
            "keys": list(keys),
            "metrics": list(metrics),
            "sinces": [sinces[pair] for pair in zip(keys, metrics, strict=True)],
        }
        begins: dict[tuple[int, str], int] = {}
        for key, metric, begin in await self.session.execute(_BEGINS, values):
            if begin is not None:
                # An hour may begin before the times that the caller may see.
                begins[key, metric] = from_datetime(max(begin, sinces[key, metric] or begin))
        return [
            each._replace(row={**each.row, "begin_us": begins.get((each.row["box_key"], each.row["metric"]))})
            for each in found
        ]

    async def _read_flags(self, found: Sequence[FoundObservation]) -> dict[tuple[str, int], list[str]]:
        """Evaluate the quality flags of stored values, Datastream by Datastream."""
        datastreams: dict[str, list[FoundObservation]] = {}
        for each in found:
            if not each.series.hourly:
                datastreams.setdefault(each.series.id, []).append(each)
        flags: dict[tuple[str, int], list[str]] = {}
        for datastream, those in datastreams.items():
            series = those[0].series
            ordered = sorted(those, key=lambda each: each.time_us)
            width_us = ordered[-1].time_us - ordered[0].time_us
            if width_us / US_PER_S / max(series.interval_s, 1) > _MOST_FLAGGED_SAMPLES:
                # They lie so far apart that all samples between them would be read.
                continue
            box = SampledBox(series.box_key, series.number, series.interval_s, "UTC")
            rows = [(to_datetime(each.time_us), each.result) for each in ordered]
            annotated = await annotate_readings(self.session, box, series.metric, rows, _FLAGS)
            for each, point in zip(ordered, annotated.points, strict=True):
                flags[datastream, each.time_us] = point["flags"]
        return flags

    async def _expand(
        self,
        parents: "_Parents",
        options: QueryOptions,
        found: Sequence[FoundEntity] = (),
    ) -> None:
        for link, inner in options.expand.items():
            if not parents.keys:
                return
            target = get_target(parents.entity, link)
            if target is OBSERVATION:
                if parents.entity is DATASTREAM:
                    series = [ObservedSeries.of(each.row) for each in found]
                    await self._expand_datastreams(series, parents, inner)
                else:
                    await self._expand_features(parents, inner)
            else:
                await self._expand_entities(parents, link, inner)

    async def _expand_entities(
        self,
        parents: "_Parents",
        link: str,
        inner: QueryOptions,
    ) -> None:
        entity, keys, ids, formatted, copies = parents
        target, names = get_target(entity, link), link_columns(entity, get_target(entity, link))
        linked = await read_linked(
            self.session, entity, keys, link, inner, top=page_size(inner), most=self.budget
        )
        appearances: Counter[tuple[Any, ...]] = Counter()
        for key, times in zip(keys, copies, strict=True):
            appearances[common_key(key, names)] += times
        flat = [(each, appearances[key]) for key, group in linked.items() for each in group.entities]
        made = iter(
            await self.format_entities(
                target, [each for each, _ in flat], inner, [times for _, times in flat]
            )
        )
        children = {key: list(islice(made, len(group.entities))) for key, group in linked.items()}
        none = LinkedEntities([], False, 0)
        for key, identifier, item in zip(keys, ids, formatted, strict=True):
            common = common_key(key, names)
            own = children.get(common, [])
            if not is_collection(link):
                item[link] = own[0] if own else None
                continue
            group = linked.get(common, none)
            item[link] = own
            if inner.count:
                item[f"{link}@iot.count"] = group.total
            if group.has_more:
                token = encode_token(group.entities[-1].order)
                item[f"{link}@iot.nextLink"] = self._next_link(entity, identifier, link, inner, token)

    async def _expand_datastreams(
        self,
        series: Sequence[ObservedSeries],
        parents: "_Parents",
        inner: QueryOptions,
    ) -> None:
        """Expand the Observations of Datastreams; the latest of each comes from the boxes' states."""
        divided = ObservationFilter.of(inner.filter)
        if divided.datastreams is not None:
            raise QueryError(
                "Filter the Datastreams instead of the Datastream of their Observations.",
                code="not_supported",
                option="$filter",
            )
        query = ObservationQuery(divided.own, inner.orderby, None, inner.skip, self.now_us)
        top = page_size(inner)
        latest = is_latest_query(query, inner.top)
        if not latest and len(series) > _MOST_DATASTREAMS:
            raise QueryError(
                f"Observations of more than {_MOST_DATASTREAMS} Datastreams can be expanded only as the "
                "latest of each: $expand=Observations($orderby=phenomenonTime desc;$top=1).",
                code="query_too_large",
                option="$expand",
            )
        newest = await read_latest(self.session, series, self.now_us) if latest else {}
        for datastream, identifier, item, copies in zip(
            series, parents.ids, parents.formatted, parents.copies, strict=True
        ):
            if latest:
                rows = [newest[datastream.id]] if datastream.id in newest else []
                has_more = bool(rows)
            else:
                rows = await read_observations(self.session, datastream, query, min(top, self.budget) + 1)
                has_more, rows = len(rows) > top, rows[:top]
            flagged = inner.select is not None and inner.selects("resultQuality")
            item["Observations"] = await self.format_observations(rows, inner, flagged=flagged, copies=copies)
            if inner.count:
                item["Observations@iot.count"] = await count_observations(
                    self.session, datastream, replace(query, order=(), skip=0)
                )
            if has_more and rows:
                item["Observations@iot.nextLink"] = self._next_link(
                    DATASTREAM, identifier, "Observations", inner, encode_token(rows[-1].order)
                )

    async def _expand_features(
        self,
        parents: "_Parents",
        inner: QueryOptions,
    ) -> None:
        entity = parents.entity
        top = page_size(inner)
        for key, identifier, item, copies in zip(*parents[1:], strict=True):
            reader = ObservationReader.of(self.session, (entity, [key]), inner)
            page = await reader.page(min(top, self.budget + 1))
            item["Observations"] = await self.format_observations(
                page.observations, inner, flagged=False, copies=copies
            )
            if inner.count:
                item["Observations@iot.count"] = await reader.count()
            if page.token is not None:
                item["Observations@iot.nextLink"] = self._next_link(
                    entity, identifier, "Observations", inner, page.token
                )

    def _next_link(
        self, entity: EntityType, identifier: str, link: str, inner: QueryOptions, token: str
    ) -> str:
        query = format_query(format_options(inner, token))
        return f"{self.formatter.address(entity, identifier)}/{link}?{query}"


def page_size(options: QueryOptions) -> int:
    """Return the entities of a page."""
    return DEFAULT_TOP if options.top is None else min(options.top, MAX_TOP)
