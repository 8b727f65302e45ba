"""The shapes of rules that are sent. Shapes only: what a rule means is the evaluator's business."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from app.platform.http.contract.fields import (
    DURATION,
    Description,
    Identifier,
    Name,
    RequestBody,
    TenantId,
    make_omittable_field,
)
from app.platform.http.contract.missing_fields import MissingField, validate_with_missing
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.weekly_hour_fields import HoursSpans
from app.rules.definitions.condition_fields import (
    Period,
    SomeBoxes,
    make_duration_check,
    make_refusal,
    parse_seconds,
)
from app.rules.definitions.condition_leaves import to_stored_json
from app.rules.definitions.condition_schemas import Condition
from app.rules.definitions.condition_trees import ConditionPath, is_site_condition, iterate_parts
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.severity import SEVERITIES, Severity, rank_severity

ESCALATIONS_LIMIT: Final = 5
MAX_AGE: Final = "PT1H"
"""How old a value may be, where a rule does not say."""


class Level(RequestBody):
    """One step of a ladder."""

    severity: Severity
    condition: Condition


class Escalation(RequestBody):
    """What becomes of an alert that nobody acknowledges."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"after": "PT30M", "severity": "critical"}]})

    after: Annotated[
        Period, Field(description="How long after the alert was recorded, by the clock on the wall")
    ]
    severity: Annotated[Severity, Field(description="What its severity is raised to, where it is less")]


def _ladder(levels: list[Level]) -> list[Level]:
    for place in range(1, len(levels)):
        if rank_severity(levels[place].severity) <= rank_severity(levels[place - 1].severity):
            raise make_refusal(
                (place, "severity"),
                CodedValueError("levels_not_ascending", "Each level is graver than the one before it"),
            )
    return levels


def _steps(escalations: list[Escalation]) -> list[Escalation]:
    for place in range(1, len(escalations)):
        before, step = escalations[place - 1], escalations[place]
        if parse_seconds(step.after) <= parse_seconds(before.after) or rank_severity(
            step.severity
        ) < rank_severity(before.severity):
            raise make_refusal(
                (place,),
                CodedValueError(
                    "escalations_not_ascending",
                    "Each escalation is later than the one before it, and as grave",
                ),
            )
    return escalations


Levels = Annotated[
    list[Level],
    Field(
        min_length=2,
        max_length=len(SEVERITIES),
        description="A ladder, in place of `severity` and `condition`: the least grave first. An alert has "
        "the severity of the gravest level that fires",
    ),
    AfterValidator(_ladder),
]
SingleCondition = Annotated[Condition, Field(description="When it fires. Left out: there are `levels`")]
Scoped = Annotated[
    SomeBoxes | None, Field(description="The boxes that it is for. Left out: every box of the site")
]
Active = Annotated[
    HoursSpans | None,
    Field(description="When it is on, in the site's time zone. Left out: always. Outside it is at rest"),
]
MaxAge = Annotated[Period, Field(description="How old a value may be: an older one is not known")]
Escalations = Annotated[
    list[Escalation],
    Field(max_length=ESCALATIONS_LIMIT, description="The soonest first"),
    AfterValidator(_steps),
]
ReminderInterval = Annotated[
    Annotated[str, AfterValidator(make_duration_check("PT1M", "P31D")), DURATION] | None,
    Field(description="How often to tell of a firing alert that nobody acknowledges: `alert.reminder`"),
]
Text = Annotated[Description | None, Field(description="What to do about it; alerts show it")]
DryRun = Annotated[bool, Field(description="Whether its alerts are recorded, and told to nobody")]


def _each_condition(body: "_Conditions") -> Iterator[tuple[ConditionPath, dict[str, Any]]]:
    if "condition" in body.model_fields_set:
        yield ("condition",), body.condition.stored()
    for place, level in enumerate(body.levels if "levels" in body.model_fields_set else ()):
        yield ("levels", place, "condition"), level.condition.stored()


class _Conditions(RequestBody):
    """What a rule asks: one condition, or a ladder of them."""

    severity: Severity = make_omittable_field()
    condition: SingleCondition = make_omittable_field()
    levels: Levels = make_omittable_field()

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if "levels" in self.model_fields_set and self.model_fields_set & {"severity", "condition"}:
            raise make_refusal(
                ("levels",),
                CodedValueError(
                    "condition_or_levels", "Give `severity` and `condition`, or `levels`: one of the two"
                ),
            )
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        leaves = [
            ((*where, *part.path), "index" in part.node)
            for where, condition in _each_condition(self)
            for part in iterate_parts(condition)
            if part.leaf
        ]
        if len({indexed for _, indexed in leaves}) > 1:
            raise make_refusal(
                next(path for path, indexed in leaves if not indexed),
                CodedValueError(
                    "mixed_condition",
                    "A rule looks at indices or at samples: the one are there when a period is over, the "
                    "others as they come. Make two rules",
                ),
            )
        return self

    @model_validator(mode="after")
    def _whole_site(self) -> Self:
        conditions = list(_each_condition(self))
        if not any(is_site_condition(condition) for _, condition in conditions):
            return self
        for where, condition in conditions:
            for part in iterate_parts(condition):
                path = (*where, *part.path)
                if part.each_box and (part.across or "box" in part.node):
                    raise make_refusal(
                        path,
                        CodedValueError(
                            "nested_boxes", "What stands under `boxes` is asked of each box itself"
                        ),
                    )
                if part.leaf and not part.each_box and "box" not in part.node:
                    raise make_refusal(
                        path,
                        CodedValueError(
                            "leaf_without_box",
                            "The rule is on its site as a whole: put this under `boxes`, or name its `box`",
                        ),
                    )
        return self


class RuleDefinition(_Conditions):
    """What a rule asks, and what becomes of its alerts."""

    scope: Scoped = None
    active: Active = None
    max_age: MaxAge = MAX_AGE
    escalations: Escalations = Field(default_factory=list)
    remind_every: ReminderInterval = None

    @model_validator(mode="wrap")
    @classmethod
    def _complete(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        lacking = []
        if isinstance(given, Mapping) and "levels" not in given:
            lacking = [name for name in ("severity", "condition") if name not in given]
        error = CodedValueError("missing_field", "Field required: `severity` and `condition`, or `levels`")
        return validate_with_missing(given, handler, [MissingField(name, error) for name in lacking])

    def definition(self) -> dict[str, Any]:
        """The definition as it is stored: complete."""
        levels = self.levels if "levels" in self.model_fields_set else [self]
        return {
            "levels": [
                {"severity": level.severity, "condition": level.condition.stored()} for level in levels
            ],
            "scope": to_stored_json(self.scope),
            "active": to_stored_json(self.active),
            "max_age": self.max_age,
            "escalations": to_stored_json(self.escalations),
            "remind_every": self.remind_every,
        }


class _Named(RequestBody):
    """What a rule is called, and where it holds."""

    organisation_id: TenantId = None
    site_id: Annotated[Identifier, Field(description="The rule applies to boxes of this site")]
    name: Name
    description: Text = None


class RuleCreate(RuleDefinition, _Named):
    """A rule to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLES["threshold"]["value"]]})

    enabled: bool = True
    dry_run: DryRun = False


class RuleChange(_Conditions):
    """What may change of a rule. Conditions, levels and lists are replaced as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Fine particles", "severity": "critical"},
                {"enabled": False},
                {"scope": {"tags": ["school"]}, "active": None},
            ]
        }
    )

    name: Name = make_omittable_field()
    description: Text = make_omittable_field()
    scope: Scoped = make_omittable_field()
    active: Active = make_omittable_field()
    max_age: MaxAge = make_omittable_field()
    escalations: Escalations = make_omittable_field()
    remind_every: ReminderInterval = make_omittable_field()
    enabled: bool = make_omittable_field()
    dry_run: DryRun = make_omittable_field()
