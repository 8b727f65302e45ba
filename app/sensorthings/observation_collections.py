"""Reads collections of Observations of several Datastreams: which Datastreams, in which order, how many.

Conditions on the Datastream or the feature of interest select Datastreams; all others select Observations.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

from app.platform.db.database import ReadSession
from app.platform.kernel.instants import LATEST_US
from app.sensorthings.entity_model import (
    DATASTREAM,
    OBSERVATION,
    OBSERVED_DATASTREAM,
    EntityKey,
    EntityType,
    ObservationId,
)
from app.sensorthings.entity_queries import EntityPage, read_page
from app.sensorthings.observation_queries import (
    FoundObservation,
    ObservationQuery,
    count_observations,
    current_time_us,
    read_observations,
)
from app.sensorthings.observed_series import ObservedSeries
from app.sensorthings.page_tokens import decode_token, encode_token, make_token_error
from app.sensorthings.query_tree import (
    Expression,
    FunctionCall,
    Literal,
    Negation,
    Operation,
    PropertyPath,
    QueryOptions,
    join_conjunction,
    split_conjunction,
    walk,
)
from app.standard_apis.query_error import QueryError

MOST_MERGED: Final = 500
"""The most Datastreams whose Observations are merged in order of time, or counted."""
MOST_WITHOUT_RESULT: Final = 100
"""The most Datastreams in a row without a result that a page of Observations examines."""
LONGEST_SEARCH_S: Final = 4.0
"""How long a page of Observations begins with further Datastreams (s)."""
_DATASTREAMS_READ: Final = 50
_LINKS: Final = frozenset({"Datastream", "FeatureOfInterest"})


@dataclass(frozen=True, slots=True)
class ObservationFilter:
    """`$filter` of Observations, divided.

    Attributes:
        datastreams: Conditions on Datastreams, relative to one; None: all.
        own: Conditions on the Observations themselves.
    """

    datastreams: Expression | None
    own: tuple[Expression, ...]

    @classmethod
    def of(cls, expression: Expression | None) -> "ObservationFilter":
        """Divide a filter (QueryError `not_supported` where a part compares both)."""
        datastreams: list[Expression] = []
        own: list[Expression] = []
        for part in split_conjunction(expression):
            paths = [each for each in walk(part) if isinstance(each, PropertyPath)]
            linked = [path for path in paths if path.parts[0] in _LINKS and len(path.parts) > 1]
            if linked and len(linked) < len(paths):
                raise QueryError(
                    "A condition has to be on the Observation alone, or on its Datastream and feature alone. "
                    "Join conditions on both by `and`.",
                    code="not_supported",
                    option="$filter",
                    position=part.position,
                )
            if linked:
                datastreams.append(_relative(part))
            else:
                own.append(part)
        return cls(join_conjunction(datastreams), tuple(own))


def _relative(part: Expression) -> Expression:
    """Rewrite the paths of a condition so that they begin at a Datastream."""
    match part:
        case PropertyPath(parts=("Datastream", *rest)):
            return PropertyPath(tuple(rest), part.position)
        case FunctionCall():
            return replace(part, arguments=tuple(_relative(each) for each in part.arguments))
        case Operation():
            return replace(part, left=_relative(part.left), right=_relative(part.right))
        case Negation():
            return replace(part, operand=_relative(part.operand))
        case _:
            return part


class ObservationPage(NamedTuple):
    """A page of Observations; `token` leads to the next one."""

    observations: list[FoundObservation]
    token: str | None


def series_of(page: EntityPage) -> list[ObservedSeries]:
    """Return the Datastreams of a page for their Observations."""
    return [ObservedSeries.of(entity.row) for entity in page.entities]


@dataclass(slots=True)
class ObservationReader:
    """Reads the Observations that a parent links to, or all.

    Attributes:
        session: reads them.
        parent: type and keys of what links to them; None: all that the caller may see.
        options: of the collection.
        now_us: the current time (µs since the epoch).
        datastream: the Datastream, if the parent is one.
    """

    session: ReadSession
    parent: tuple[EntityType, Sequence[EntityKey]] | None
    options: QueryOptions
    now_us: int
    datastream: ObservedSeries | None = None

    @classmethod
    def of(
        cls,
        session: ReadSession,
        parent: tuple[EntityType, Sequence[EntityKey]] | None,
        options: QueryOptions,
        datastream: ObservedSeries | None = None,
    ) -> "ObservationReader":
        """Make a reader."""
        return cls(session, parent, options, current_time_us(), datastream)

    def _conditions(self) -> list[tuple[EntityType, Sequence[EntityKey]]]:
        # A Datastream's key restricts Datastreams as it restricts Observations.
        return [] if self.parent is None else [(self._parent_type(), self.parent[1])]

    def _parent_type(self) -> EntityType:
        assert self.parent is not None  # noqa: S101 (the caller checked it)
        return OBSERVATION if self.parent[0].name == DATASTREAM.name else self.parent[0]

    def _filter(self) -> ObservationFilter:
        found = ObservationFilter.of(self.options.filter)
        named = [_named_datastream(part) for part in found.own]
        datastreams = [each for each in named if each is not None]
        if not datastreams:
            return found
        return replace(
            found, datastreams=join_conjunction([*split_conjunction(found.datastreams), *datastreams])
        )

    async def _read_datastreams(self, filter_: Expression | None, after: str | None, most: int) -> EntityPage:
        options = QueryOptions(filter=filter_, skip_token=None if after is None else encode_token([after]))
        return await read_page(self.session, OBSERVED_DATASTREAM, self._conditions(), options, most)

    async def page(self, top: int) -> ObservationPage:
        """Read a page of `top` Observations."""
        divided = self._filter()
        query = ObservationQuery(
            divided.own, self.options.orderby, self.options.skip_token, self.options.skip, self.now_us
        )
        if self.parent is not None and self.parent[0].name == DATASTREAM.name and len(self.parent[1]) == 1:
            return await self._of_one(await self._few_datastreams(divided.datastreams), query, top)
        if query.order:
            return await self._in_order(divided, query, top)
        return await self._in_sequence(divided, query, top)

    async def _in_sequence(
        self, divided: ObservationFilter, query: ObservationQuery, top: int
    ) -> ObservationPage:
        """Read Datastream after Datastream, each in order of time. The token names the last one.

        A page ends early if a search finds nothing for long: its token continues after the last Datastream.
        """
        began = time.monotonic()
        last_id, token = _split_token(query.token)
        found: list[FoundObservation] = []
        skipped = 0 if token else query.skip
        wanted = top + 1 + skipped
        at = replace(query, token=None, skip=0)
        if last_id is not None:
            same = await self._find_datastream(divided.datastreams, last_id)
            found += [
                each
                for datastream in same
                for each in await read_observations(
                    self.session, datastream, replace(at, token=token), wanted
                )
            ]
        without_result, ends_early, has_more = 0, False, True
        while has_more and len(found) < wanted and not ends_early:
            page = await self._read_datastreams(divided.datastreams, last_id, _DATASTREAMS_READ)
            has_more = page.token is not None
            for datastream in series_of(page):
                rows = await read_observations(self.session, datastream, at, wanted - len(found))
                found += rows
                last_id = datastream.id
                without_result = 0 if rows else without_result + 1
                is_long = without_result >= MOST_WITHOUT_RESULT or time.monotonic() - began > LONGEST_SEARCH_S
                # What is left out is not part of the token.
                ends_early = is_long and len(found) >= skipped
                if ends_early or len(found) >= wanted:
                    break
        cut = found[skipped:][:top]
        if len(found) - skipped > top and cut:
            return ObservationPage(cut, encode_token([cut[-1].series.id, cut[-1].time_us]))
        return ObservationPage(cut, encode_token([last_id, LATEST_US - 1]) if ends_early else None)

    async def _find_datastream(self, filter_: Expression | None, identifier: str) -> list[ObservedSeries]:
        named = Operation("eq", PropertyPath(("id",), 0), Literal("text", identifier, 0), 0)
        joined = join_conjunction([*split_conjunction(filter_), named])
        return series_of(await self._read_datastreams(joined, None, 1))

    async def _in_order(
        self, divided: ObservationFilter, query: ObservationQuery, top: int
    ) -> ObservationPage:
        """Read the Observations of several Datastreams in an order by time, or those of one in any order."""
        datastreams = await self._few_datastreams(divided.datastreams)
        are_several = len(datastreams) > 1
        if query.descending is not None and not (are_several and len(query.order) > 1):
            return await self._merged(datastreams, query, top)
        if are_several:
            raise QueryError(
                "Observations of several Datastreams can be ordered by `phenomenonTime` or `resultTime` "
                "alone. Read those of one Datastream to order them otherwise.",
                code="not_supported",
                option="$orderby",
            )
        return await self._of_one(datastreams, query, top)

    async def _of_one(
        self, datastreams: Sequence[ObservedSeries], query: ObservationQuery, top: int
    ) -> ObservationPage:
        """Read the Observations of one Datastream, or of none."""
        if not datastreams:
            return ObservationPage([], None)
        found = await read_observations(self.session, datastreams[0], query, top + 1)
        cut = found[:top]
        return ObservationPage(cut, encode_token(cut[-1].order) if len(found) > top and cut else None)

    async def _merged(
        self, datastreams: Sequence[ObservedSeries], query: ObservationQuery, top: int
    ) -> ObservationPage:
        """Merge the Observations of several Datastreams in order of time.

        Only those of the page are stored at a time. Once it is full, a Datastream is read up to its last one.
        """
        last = None if query.token is None else _split_merged_token(query.token)
        wanted = top + 1 + (0 if last is not None else query.skip)
        step = -1 if query.descending else 1

        def position(each: FoundObservation) -> tuple[int, str]:
            return step * query.order_time_us(each.series, each.time_us), each.series.id

        found: list[FoundObservation] = []
        for datastream in datastreams:
            at = replace(query, token=None, skip=0)
            if last is not None:
                # Of one time, Datastreams come in the order of their ids.
                edge = last[0] if datastream.id <= last[1] else last[0] - step
                at = replace(at, token=encode_token([edge - query.order_time_us(datastream)]))
            if len(found) == wanted:
                at = replace(at, conditions=(*at.conditions, _until(query, found[-1])))
            rows = await read_observations(self.session, datastream, at, wanted)
            found = list(islice(heapq.merge(found, rows, key=position), wanted))
        cut = found[wanted - top - 1 :][:top]
        if len(found) < wanted or not cut:
            return ObservationPage(cut, None)
        position_us = query.order_time_us(cut[-1].series, cut[-1].time_us)
        return ObservationPage(cut, encode_token([position_us, cut[-1].series.id]))

    async def _few_datastreams(self, filter_: Expression | None) -> list[ObservedSeries]:
        if self.datastream is not None and filter_ is None:
            return [self.datastream]
        page = await self._read_datastreams(filter_, None, MOST_MERGED)
        if page.token is not None:
            raise QueryError(
                f"These are Observations of more than {MOST_MERGED} Datastreams. Read those of one, "
                "filter by `Datastream/…`, or omit `$orderby` and `$count`.",
                code="query_too_large",
            )
        return series_of(page)

    async def count(self) -> int:
        """Count the Observations."""
        divided = self._filter()
        query = ObservationQuery(divided.own, now_us=self.now_us)
        total = 0
        for datastream in await self._few_datastreams(divided.datastreams):
            total += await count_observations(self.session, datastream, query)
        return total


def _split_token(token: str | None) -> tuple[str | None, str | None]:
    """Return the Datastream that a token names, and the token within it (QueryError)."""
    if token is None:
        return None, None
    values = decode_token(token)
    if len(values) != 2 or not isinstance(values[0], str):  # noqa: PLR2004 (Datastream and time)
        raise make_token_error()
    return values[0], encode_token(values[1:])


def _split_merged_token(token: str) -> tuple[int, str]:
    """Return the time and the Datastream of the last Observation of the page before (QueryError)."""
    values = decode_token(token)
    if len(values) != 2 or type(values[0]) is not int or not isinstance(values[1], str):  # noqa: PLR2004
        raise make_token_error()
    return values[0], values[1]


def _until(query: ObservationQuery, last: FoundObservation) -> Expression:
    """Return the condition on Observations that come not after one in an order by time."""
    time_us = query.order_time_us(last.series, last.time_us)
    path, instant = PropertyPath((query.time_property,), 0), Literal("instant", time_us, 0)
    return Operation("ge" if query.descending else "le", path, instant, 0)


def _named_datastream(part: Expression) -> Expression | None:
    """Return the condition on the Datastream that follows from `id eq '…'` of an Observation."""
    match part:
        case Operation("eq", PropertyPath(("id",)), Literal("text", str() as value)):
            found = ObservationId.parse(value)
            if found is not None:
                return Operation("eq", PropertyPath(("id",), 0), Literal("text", found.datastream, 0), 0)
    return None
