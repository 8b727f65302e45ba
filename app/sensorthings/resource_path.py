"""Parses the path of a resource: entity sets, ids, links, properties, `$value` and `$ref`. Pure."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.platform.kernel.errors import NotFoundError
from app.sensorthings.entity_model import ENTITY_SETS, EntityType, get_target, is_collection

_SEGMENT: Final = re.compile(r"(?P<name>[A-Za-z]+)(?:\((?P<id>'(?:[^']|'')*'|[^()']+)\))?")
_LONGEST_ID: Final = 128
_DEEPEST: Final = 12


class PathStep(NamedTuple):
    """A step of a path.

    Attributes:
        link: The entity set or the navigation link.
        entity: The entity type that it leads to.
        identifier: The id in parentheses; None: there is none.
    """

    link: str
    entity: EntityType
    identifier: str | None


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """The path of a resource.

    Attributes:
        steps: From an entity set to the resource.
        members: A property of the last entity, and members of it.
        raw: Whether `$value` asks for the value alone.
        references: Whether `$ref` asks for links alone.
    """

    steps: tuple[PathStep, ...]
    members: tuple[str, ...] = ()
    raw: bool = False
    references: bool = False

    @property
    def entity(self) -> EntityType:
        """The entity type of the resource."""
        return self.steps[-1].entity

    @property
    def is_collection(self) -> bool:
        """Whether the resource is a collection of entities."""
        last = self.steps[-1]
        return last.identifier is None and is_collection(last.link)


def parse_resource_path(path: str) -> ResourcePath:
    """Parse a path relative to the service root.

    Raises:
        NotFoundError: No resource can have this path.
    """
    segments = path.strip("/").split("/")
    if len(segments) > _DEEPEST:
        raise NotFoundError("resource", path)
    references, raw = segments[-1] == "$ref", segments[-1] == "$value"
    if references or raw:
        segments = segments[:-1]
    steps: list[PathStep] = []
    members: list[str] = []
    for segment in segments:
        step = None if members else _parse_step(steps, segment)
        if step is not None:
            steps.append(step)
            continue
        members.append(_parse_member(path, steps, members, segment))
    if not steps or (raw and not members) or (references and members):
        raise NotFoundError("resource", path)
    found = ResourcePath(tuple(steps), tuple(members), raw, references)
    if members and found.is_collection:
        raise NotFoundError("resource", path)
    return found


def _parse_step(steps: list[PathStep], segment: str) -> PathStep | None:
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        return None
    name, text = match["name"], match["id"]
    if not steps:
        entity = ENTITY_SETS.get(name)
    else:
        previous = steps[-1]
        single = previous.identifier is not None or not is_collection(previous.link)
        entity = get_target(previous.entity, name) if single and name in previous.entity.links else None
    if entity is None or (text is not None and (not is_collection(name) or len(text) > _LONGEST_ID)):
        return None
    identifier = None if text is None else text[1:-1].replace("''", "'") if text.startswith("'") else text
    return PathStep(name, entity, identifier)


def _parse_member(path: str, steps: list[PathStep], members: list[str], segment: str) -> str:
    name = segment.removeprefix("@iot.")
    is_property = bool(steps) and (members or name in {"id", "selfLink", *steps[-1].entity.properties})
    if not is_property:
        raise NotFoundError("resource", path)
    return name
