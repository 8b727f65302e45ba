"""Joins the entities that the paths of `$filter` and `$orderby` lead to. A statement has few joins."""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import FromClause, and_

from app.sensorthings.entity_model import EntityType, get_target, is_collection
from app.sensorthings.relations import Relation, TypedSql, link_columns, make_relation
from app.standard_apis.query_error import QueryError

DEEPEST_PATH: Final = 6
"""The most links that one path follows."""
MOST_JOINS: Final = 8
"""The most links that all paths of a statement follow. A Datastream joins five views: with hundreds of them
PostgreSQL needs gigabytes to plan."""


@dataclass(slots=True)
class QuerySource:
    """The source of a statement: an entity type with what its properties link to.

    Attributes:
        base: The relation of the entity type.
        source: What to select from.
        has_collections: Whether a path goes through a collection, so that an entity may have several rows.
        joins_elsewhere: The links that other parts of the same statement follow.
    """

    base: Relation
    source: FromClause
    has_collections: bool = False
    joins_elsewhere: int = 0
    _joined: dict[tuple[str, ...], Relation] = field(default_factory=dict)

    @classmethod
    def of(cls, entity: EntityType) -> "QuerySource":
        """Make the source of an entity type."""
        base = make_relation(entity)
        return cls(base, base.source)

    def resolve(self, parts: tuple[str, ...]) -> TypedSql | None:
        """Return the SQL of a property, and join what its path links to; None: there is no such property."""
        found = self._relation(parts)
        if found is None:
            return None
        relation, names = found
        return relation.properties.get("/".join(names))

    @property
    def joins(self) -> int:
        """How many links the statement follows."""
        return len(self._joined) + self.joins_elsewhere

    def coordinates(self, parts: tuple[str, ...]) -> tuple[Any, Any] | None:
        """Return the longitude and latitude of a place."""
        found = self._relation(parts)
        if found is None or "longitude" not in found[0].row:
            return None
        return found[0].row["longitude"], found[0].row["latitude"]

    def _relation(self, parts: tuple[str, ...]) -> tuple[Relation, tuple[str, ...]] | None:
        relation, depth = self.base, 0
        while depth < len(parts) - 1 and parts[depth] in relation.entity.links:
            target = get_target(relation.entity, parts[depth])
            if target.name == "Observation":
                raise QueryError(
                    "A filter cannot go through Observations: they are too many. Filter `Observations` by "
                    "`Datastream/…` instead.",
                    code="not_supported",
                )
            if depth == DEEPEST_PATH:
                raise QueryError(
                    f"A path can follow {DEEPEST_PATH} links at most. Begin at an entity set nearer to the "
                    "property.",
                    code="query_too_large",
                )
            depth += 1
            relation = self._join(relation, target, parts[:depth])
        return relation, parts[depth:]

    def _join(self, parent: Relation, target: EntityType, path: tuple[str, ...]) -> Relation:
        if path in self._joined:
            return self._joined[path]
        if self.joins >= MOST_JOINS:
            raise QueryError(
                f"The paths of $filter and $orderby can follow {MOST_JOINS} different links at most. Use "
                "fewer paths, or send several queries.",
                code="query_too_large",
            )
        child = make_relation(target)
        names = link_columns(parent.entity, target)
        on = and_(*(child.key[name] == parent.key[name] for name in names))
        self.source = self.source.outerjoin(child.source, on)
        self.has_collections = self.has_collections or is_collection(path[-1])
        self._joined[path] = child
        return child
