"""Plans the effect of a bulk operation on each box, for its preview and again before its execution.

Pure: no database, no HTTP, no clock.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from app.registry.bulk_box_operation_schemas import (
    AttributesChange,
    ConfigureBoxes,
    LabelBoxes,
    MoveBoxes,
    Operation,
    RevokeCredentials,
    TagsChange,
)
from app.registry.labels import ATTRIBUTES_MAX, TAGS_MAX
from app.registry.models import Box

_TOKEN_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class BoxStep:
    """The effect of an operation on one box.

    Attributes:
        id: The box id.
        key: The box key; None if there is no such box.
        result: The result of the operation once it is executed.
        code: The code of an error.
        detail: The text of an error.
        before: The fields that change, with their present values.
        after: The same fields with their new values.
        password: The only copy of a new password.
    """

    id: str
    key: int | None
    result: Literal["changed", "unchanged", "error"]
    code: str | None = None
    detail: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class BulkPlanInputs:
    """The data that a plan needs besides the boxes.

    Attributes:
        site_owner: The organisation of the site that boxes move to; None if they do not move.
        configs: The present desired configurations by box key.
    """

    site_owner: UUID | None
    configs: Mapping[int, Any]


def make_not_found_step(identifier: str, key: int | None = None) -> BoxStep:
    """Make the step of a box that does not exist."""
    return BoxStep(identifier, key, "error", "not_found", f"There is no box {identifier!r}.")


def plan_step(box: Box, operation: Operation, inputs: BulkPlanInputs) -> BoxStep:
    """Plan the effect of an operation on a box."""
    match operation:
        case ConfigureBoxes():
            # `before` and `after` stay empty: for ten thousand boxes they could take 160 MB.
            same = inputs.configs.get(box.key) == operation.config
            return BoxStep(box.id, box.key, "unchanged" if same else "changed")
        case LabelBoxes():
            return _plan_labels(box, operation)
        case MoveBoxes():
            if inputs.site_owner != box.organisation_id:
                detail = f"The site {operation.site_id} is not of the box's organisation."
                return BoxStep(box.id, box.key, "error", "not_found", detail)
            return _make_step(box, {"site_id": str(box.site_id)}, {"site_id": str(operation.site_id)})
        case RevokeCredentials() if box.revoked_at is not None:
            return BoxStep(box.id, box.key, "unchanged")
        case _:
            return BoxStep(box.id, box.key, "changed")


def _plan_labels(box: Box, operation: LabelBoxes) -> BoxStep:
    before: dict[str, Any] = {"kind": box.kind, "tags": box.tags, "attributes": box.attributes}
    after = dict(before)
    if "kind" in operation.model_fields_set:
        after["kind"] = operation.kind
    if operation.tags is not None:
        after["tags"] = _tags(box.tags, operation.tags)
    if operation.attributes is not None:
        after["attributes"] = _attributes(box.attributes, operation.attributes)
    for name, most in (("tags", TAGS_MAX), ("attributes", ATTRIBUTES_MAX)):
        if len(after[name]) > most:
            detail = f"The box would have {len(after[name])} {name}; the limit is {most}. Remove some too."
            return BoxStep(box.id, box.key, "error", "too_many_labels", detail)
    return _make_step(box, before, after)


def _tags(now: list[str], change: TagsChange) -> list[str]:
    if change.replace is not None:
        return change.replace
    return [tag for tag in dict.fromkeys((*now, *change.add)) if tag not in change.remove]


def _attributes(now: Mapping[str, Any], change: AttributesChange) -> dict[str, Any]:
    if change.replace is not None:
        return change.replace
    return {name: value for name, value in {**now, **change.set}.items() if name not in change.remove}


def _make_step(box: Box, before: Mapping[str, Any], after: Mapping[str, Any]) -> BoxStep:
    names = [name for name in after if after[name] != before[name]]
    if not names:
        return BoxStep(box.id, box.key, "unchanged")
    return BoxStep(
        box.id,
        box.key,
        "changed",
        before={name: before[name] for name in names},
        after={name: after[name] for name in names},
    )


def compute_preview_token(operation: Operation, steps: Iterable[BoxStep]) -> str:
    """Compute a token that identifies an operation, its boxes and its effects."""
    effects = [[step.key, step.id, step.result, step.code, step.before, step.after] for step in steps]
    document = [
        operation.model_dump(mode="json", exclude_unset=True),
        sorted(effects, key=lambda each: str(each[1])),
    ]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()[:_TOKEN_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
