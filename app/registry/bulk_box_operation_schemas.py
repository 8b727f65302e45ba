"""Defines the JSON schemas of bulk operations: the selected boxes, the operation, and each box's result."""

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
from app.registry.box_filters import BoxFilter
from app.registry.box_schemas import Credentials, DesiredConfig
from app.registry.firmware_versions import BELOW_VERSION, COMPARABLE, FROM_VERSION, FirmwareVersion
from app.registry.labels import TAGS_MAX, AttributeName, Attributes, BoxKind, Tag, Tags

OPERATION_MAX: Final = 10_000
"""The largest number of boxes of an operation."""

State = Literal["online", "offline", "unknown"]
_SITE: Final = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
_EXAMPLE: Final[dict[str, Any]] = {
    "ids": ["box-0001", "box-0002"],
    "operation": {"type": "label", "tags": {"add": ["lot:2026-11"], "remove": ["spare"]}},
    "dry_run": True,
}


def _check_box_ids(value: object, validate: ValidatorFunctionWrapHandler) -> list[str]:
    """Check ids, and stop at the limit of reported faults: there could be half a million."""
    if isinstance(value, list):
        wrong = (position for position, each in enumerate(value, 1) if not _is_box_id(each))
        value = value[: next(islice(wrong, FAULTS_LIMIT - 1, None), None)]
    return validate(value)  # type: ignore[no-any-return] # a list of the ids, or an error


def _is_box_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(check_box_id(value))
    except CodedValueError:
        return False


class BoxSelection(RequestBody):
    """A filter of boxes, as the parameters of `GET /v1/boxes`. A box must meet all conditions."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"site": _SITE, "tag": ["lot:2026-11"], "firmware": "2.3.1"}]}
    )

    organisation: Identifier | None = Field(None, description="Only of this organisation")
    site: Identifier | None = Field(None, description="Only at this site")
    id_prefix: BoxId | None = Field(None, description="Only boxes with an id that begins with this")
    q: Name | None = Field(None, description="Part of the id or the name, case-insensitive")
    state: State | None = Field(None, description="Only boxes in this state; `unknown`: never reported")
    silent: bool | None = Field(None, description="True: only silent boxes; false: only the others")
    firmware: Name | None = Field(None, description="Exactly this firmware")
    firmware_from: FirmwareVersion | None = Field(None, description=FROM_VERSION)
    firmware_below: FirmwareVersion | None = Field(None, description=BELOW_VERSION)
    firmware_comparable: bool | None = Field(None, description=COMPARABLE)
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
        """Convert to the filter of the repository."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return BoxFilter(search=values.pop("q"), tags=values.pop("tag"), **values)


class ConfigureBoxes(RequestBody):
    """Replace the desired configuration of each box; null removes it."""

    type: Literal["configure"]
    config: DesiredConfig | None


class TagsChange(RequestBody):
    """A change of tags: add and remove some, or replace all."""

    add: Tags = Field(default_factory=list)
    remove: Tags = Field(default_factory=list)
    replace: Tags | None = Field(None, description="All tags, instead of `add` and `remove`")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        _check_one_way(replaces=self.replace is not None, changes=bool(self.add or self.remove))
        return self


class AttributesChange(RequestBody):
    """A change of attributes: set and remove some, or replace all."""

    set: Attributes = Field(default_factory=dict)
    remove: list[AttributeName] = Field(default_factory=list, max_length=50)
    replace: Attributes | None = Field(None, description="All attributes, instead of `set` and `remove`")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        _check_one_way(replaces=self.replace is not None, changes=bool(self.set or self.remove))
        return self


def _check_one_way(*, replaces: bool, changes: bool) -> None:
    if replaces and changes:
        raise CodedValueError("replace_or_change", "Give either `replace` or single changes, not both")


class LabelBoxes(RequestBody):
    """Change the kind, tags or attributes of each box. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    type: Literal["label"]
    kind: BoxKind | None = Field(None, description="The new kind; null removes it. Left out: unchanged")
    tags: TagsChange = make_omittable_field()
    attributes: AttributesChange = make_omittable_field()

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if self.model_fields_set == {"type"}:
            raise CodedValueError("missing_field", "Give `kind`, `tags` or `attributes`")
        return self


class MoveBoxes(RequestBody):
    """Move each box to another site of its organisation. The alerts of moved boxes close."""

    type: Literal["move"]
    site_id: Identifier


class RotateCredentials(RequestBody):
    """Create a new password for each box. It is shown only in this response; the previous one ends."""

    type: Literal["rotate_credentials"]


class RevokeCredentials(RequestBody):
    """Disconnect each box and refuse its connections until its credentials are rotated."""

    type: Literal["revoke_credentials"]


class DeleteBoxes(RequestBody):
    """Delete each box. Its alerts close, its broker account is removed, and its id can be used again."""

    type: Literal["delete"]


Operation = Annotated[
    ConfigureBoxes | LabelBoxes | MoveBoxes | RotateCredentials | RevokeCredentials | DeleteBoxes,
    Field(discriminator="type"),
]


class BoxesOperation(RequestBody):
    """An operation on the boxes of a filter (`select`) or of a list (`ids`)."""

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
            WrapValidator(_check_box_ids),
        ]
        | None
    ) = None
    operation: Operation
    dry_run: bool = Field(default=False, description="Change nothing, and return what would change")
    preview: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="The token of a dry run: the operation does exactly what that showed, or nothing (409 "
        "`selection_changed`). Required with `select`",
    )

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if (self.select is None) == (self.ids is None):
            raise CodedValueError("select_or_ids", "Give either `select` or `ids`")
        if self.select is not None and not self.dry_run and self.preview is None:
            raise CodedValueError(
                "preview_required",
                "A filter needs the `preview` of a dry run: send this with `dry_run`, check the response, "
                "then send it with that `preview`",
            )
        return self


class BoxResult(BaseModel):
    """The result of one box."""

    id: str
    result: Literal["changed", "unchanged", "error"] = Field(
        description="In a dry run: the expected result. `unchanged`: nothing was to be changed"
    )
    code: str | None = Field(None, description="Of an error, stable", examples=["not_found"])
    detail: str | None = Field(None, description="Of an error, for people")
    before: dict[str, Any] | None = Field(
        None, description="The changed fields with their previous values; only with the scope `sites:read`"
    )
    after: dict[str, Any] | None = Field(None, description="The same fields with their new values")
    credentials: Credentials | None = Field(None, description="New credentials, shown only here")


class BoxesChanged(BaseModel):
    """The result of each box, and the numbers of results."""

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
    selected: int = Field(description="Number of boxes that were selected or listed, without duplicates")
    changed: int
    unchanged: int
    failed: int = Field(description="Number of results `error`; they do not affect the other boxes")
    preview: str | None = Field(description="The token of a dry run. Send it to execute exactly this")
    results: list[BoxResult] = Field(description="In the order of `ids`; of a filter, by id")


def get_target_site_id(operation: Operation) -> UUID | None:
    """Get the site to which boxes move; None for other operations."""
    return operation.site_id if isinstance(operation, MoveBoxes) else None
