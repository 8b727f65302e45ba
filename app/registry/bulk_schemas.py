"""The shapes of operations on many boxes at once: which boxes, what to do, and the result of each box."""

from itertools import islice
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from app.platform.http.contract.fields import (
    BoxId,
    Identifier,
    Name,
    RequestBody,
    check_box_id,
    make_omittable_field,
)
from app.platform.http.contract.problems import FAULTS_LIMIT, CodedValueError
from app.registry.box_repository import BoxFilter
from app.registry.box_schemas import Credentials, DesiredConfig
from app.registry.labels import TAGS_MAX, AttributeName, Attributes, BoxKind, Tag, Tags

OPERATION_MAX: Final = 10_000
"""How many boxes one call changes at most."""

State = Literal["online", "offline", "unknown"]
_SITE: Final = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
_EXAMPLE: Final[dict[str, Any]] = {
    "ids": ["box-0001", "box-0002"],
    "operation": {"type": "label", "tags": {"add": ["lot:2026-11"], "remove": ["spare"]}},
    "dry_run": True,
}


def _until_enough_faults(value: object, validate: ValidatorFunctionWrapHandler) -> list[str]:
    """Check ids until as many faults are found as an answer names: there could be half a million."""
    if isinstance(value, list):
        wrong = (place for place, each in enumerate(value, 1) if not _is_box_id(each))
        value = value[: next(islice(wrong, FAULTS_LIMIT - 1, None), None)]
    return validate(value)  # type: ignore[no-any-return] # a list of the ids, or an error


def _is_box_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(check_box_id(value))
    except CodedValueError:
        return False


class BoxSelection(RequestBody):
    """Boxes that fit all that is given, as the parameters of `GET /v1/boxes` do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"site": _SITE, "tag": ["lot:2026-11"], "firmware": "2.3.1"}]}
    )

    organisation: Identifier | None = Field(None, description="Only of this organisation")
    site: Identifier | None = Field(None, description="Only at this site")
    id_prefix: BoxId | None = Field(None, description="Only those whose id begins so")
    q: Name | None = Field(None, description="Part of the id or of the name, in any case")
    state: State | None = Field(None, description="`unknown`: it never reported one")
    silent: bool | None = Field(None, description="Only those that are silent, or only the others")
    firmware: Name | None = Field(None, description="Exactly this firmware")
    kind: BoxKind | None = Field(None, description="Only of this kind")
    tag: (
        Annotated[list[Tag], Field(max_length=TAGS_MAX, description="Only with all of these tags")] | None
    ) = None
    battery_below: Annotated[float, Field(ge=0, le=100, description="Percent")] | None = None
    rssi_below: Annotated[float, Field(ge=-200, le=20, description="dBm")] | None = None
    late_share_above: Annotated[float, Field(ge=0, le=1, description="0 to 1")] | None = None
    clock_skew_above_ms: (
        Annotated[float, Field(ge=0, le=1e13, description="Milliseconds, ahead or behind")] | None
    ) = None

    def as_filter(self) -> BoxFilter:
        """The same as the repository takes it."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return BoxFilter(search=values.pop("q"), tags=values.pop("tag"), **values)


class ConfigureBoxes(RequestBody):
    """Set the desired configuration of each box, whole; null takes it back."""

    type: Literal["configure"]
    config: DesiredConfig | None


class TagsChange(RequestBody):
    """How tags change: some are added and removed, or all are replaced."""

    add: Tags = Field(default_factory=list)
    remove: Tags = Field(default_factory=list)
    replace: Tags | None = Field(None, description="All tags, instead of `add` and `remove`")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        _check_one_way(replaces=self.replace is not None, changes=bool(self.add or self.remove))
        return self


class AttributesChange(RequestBody):
    """How attributes change: some are set and removed, or all are replaced."""

    set: Attributes = Field(default_factory=dict)
    remove: list[AttributeName] = Field(default_factory=list, max_length=50)
    replace: Attributes | None = Field(None, description="All attributes, instead of `set` and `remove`")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        _check_one_way(replaces=self.replace is not None, changes=bool(self.set or self.remove))
        return self


def _check_one_way(*, replaces: bool, changes: bool) -> None:
    if replaces and changes:
        raise CodedValueError("replace_or_change", "Give `replace`, or what to change, not both")


class LabelBoxes(RequestBody):
    """Change kind, tags and attributes: those that are given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    type: Literal["label"]
    kind: BoxKind | None = Field(None, description="The new kind; null: none. Left out: it stays")
    tags: TagsChange = make_omittable_field()
    attributes: AttributesChange = make_omittable_field()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.model_fields_set == {"type"}:
            raise CodedValueError("missing_field", "Give `kind`, `tags` or `attributes`")
        return self


class MoveBoxes(RequestBody):
    """Move each box to another site of its organisation. The alerts of the boxes that move close."""

    type: Literal["move"]
    site_id: Identifier


class RotateCredentials(RequestBody):
    """Give each box a new password. It is in this answer and never shown again; the former one ends."""

    type: Literal["rotate_credentials"]


class RevokeCredentials(RequestBody):
    """Disconnect each box and let it in no more, until it gets new credentials."""

    type: Literal["revoke_credentials"]


class DeleteBoxes(RequestBody):
    """Delete each box: its alerts close, its account at the broker ends, and its id is free again."""

    type: Literal["delete"]


Operation = Annotated[
    ConfigureBoxes | LabelBoxes | MoveBoxes | RotateCredentials | RevokeCredentials | DeleteBoxes,
    Field(discriminator="type"),
]


class BoxesOperation(RequestBody):
    """An operation on many boxes: on those of a filter (`select`), or on those of a list (`ids`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _EXAMPLE,
                {"select": {"site": _SITE, "silent": True}, "operation": {"type": "delete"}, "dry_run": True},
                {
                    "select": {"site": _SITE, "silent": True},
                    "operation": {"type": "delete"},
                    "preview": "kR3vN1qS0aYt7mXw2bZc9Q",
                },
            ]
        }
    )

    select: BoxSelection | None = None
    ids: (
        Annotated[
            list[BoxId],
            Field(min_length=1, max_length=OPERATION_MAX),
            WrapValidator(_until_enough_faults),
        ]
        | None
    ) = None
    operation: Operation
    dry_run: bool = Field(default=False, description="Change nothing: tell what would change")
    preview: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="The token of a dry run: exactly what that showed is carried out, or nothing (409 "
        "`selection_changed`). Needed with `select`",
    )

    @model_validator(mode="after")
    def _which(self) -> Self:
        if (self.select is None) == (self.ids is None):
            raise CodedValueError("select_or_ids", "Give either `select` or `ids`")
        if self.select is not None and not self.dry_run and self.preview is None:
            raise CodedValueError(
                "preview_required",
                "A filter needs the `preview` of a dry run: send this with `dry_run`, look at the answer, "
                "then send it with that `preview`",
            )
        return self


class BoxResult(BaseModel):
    """The result of one box."""

    id: str
    result: Literal["changed", "unchanged", "error"] = Field(
        description="In a dry run what it would be; `unchanged`: it is so already"
    )
    code: str | None = Field(None, description="Of an error, stable", examples=["not_found"])
    detail: str | None = Field(None, description="Of an error, for people")
    before: dict[str, Any] | None = Field(
        None, description="The fields that change, as they were; to callers with `sites:read`"
    )
    after: dict[str, Any] | None = Field(None, description="The same fields, as they are then")
    credentials: Credentials | None = Field(None, description="New ones; shown here and never again")


class BoxesChanged(BaseModel):
    """The results of all boxes, and how many there are of each."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "operation": "label",
                    "dry_run": True,
                    "selected": 2,
                    "changed": 1,
                    "unchanged": 0,
                    "failed": 1,
                    "preview": "kR3vN1qS0aYt7mXw2bZc9Q",
                    "results": [
                        {
                            "id": "box-0001",
                            "result": "changed",
                            "code": None,
                            "detail": None,
                            "before": {"tags": ["spare"]},
                            "after": {"tags": ["lot:2026-11"]},
                            "credentials": None,
                        },
                        {
                            "id": "box-0002",
                            "result": "error",
                            "code": "not_found",
                            "detail": "There is no box 'box-0002'.",
                            "before": None,
                            "after": None,
                            "credentials": None,
                        },
                    ],
                }
            ]
        }
    )

    operation: str
    dry_run: bool
    selected: int = Field(description="How many boxes were selected or listed, each counted once")
    changed: int
    unchanged: int
    failed: int = Field(description="How many have the result `error`; the others are not affected by them")
    preview: str | None = Field(description="Of a dry run: send it to carry out exactly this")
    results: list[BoxResult] = Field(description="By id; of a list in its order")


def get_target_site_id(operation: Operation) -> UUID | None:
    """The site that boxes are moved to; None where they are not moved."""
    return operation.site_id if isinstance(operation, MoveBoxes) else None
