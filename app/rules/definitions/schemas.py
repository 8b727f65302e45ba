"""Defines the JSON shapes of rules in requests."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from app.platform.http.contract.conditionally_required_fields import MissingField, validate_with_missing
from app.platform.http.contract.fields import (
    DURATION,
    Description,
    Identifier,
    Name,
    RequestBody,
    TenantId,
    make_omittable_field,
)
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
from app.rules.engine.rule_compiler import MAX_AGE

ESCALATIONS_LIMIT: Final = 5


class Level(RequestBody):
    """A severity with its condition."""

    severity: Severity
    condition: Condition


class Escalation(RequestBody):
    """Raises the severity of an unacknowledged alert."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"after": "PT30M", "severity": "critical"}]})

    after: Annotated[
        Period, Field(description="The time since the alert was recorded, by the clock of the server")
    ]
    severity: Annotated[Severity, Field(description="The severity to raise it to, if it is lower")]


def _check_levels(levels: list[Level]) -> list[Level]:
    for index in range(1, len(levels)):
        if rank_severity(levels[index].severity) <= rank_severity(levels[index - 1].severity):
            raise make_refusal(
                (index, "severity"),
                CodedValueError(
                    "levels_not_ascending", "Each level must be more severe than the one before it"
                ),
            )
    return levels


def _check_escalations(escalations: list[Escalation]) -> list[Escalation]:
    for index in range(1, len(escalations)):
        before, step = escalations[index - 1], escalations[index]
        if parse_seconds(step.after) <= parse_seconds(before.after) or rank_severity(
            step.severity
        ) < rank_severity(before.severity):
            raise make_refusal(
                (index,),
                CodedValueError(
                    "escalations_not_ascending",
                    "Each escalation must be later than the one before it, and at least as severe",
                ),
            )
    return escalations


Levels = Annotated[
    list[Level],
    Field(
        min_length=2,
        max_length=len(SEVERITIES),
        description="Several levels, instead of `severity` and `condition`: the least severe first. An alert "
        "has the severity of the highest level that fires",
    ),
    AfterValidator(_check_levels),
]
SingleCondition = Annotated[Condition, Field(description="When the rule fires. Required without `levels`")]
Scoped = Annotated[
    SomeBoxes | None, Field(description="The boxes that the rule applies to. Default: every box of the site")
]
Active = Annotated[
    HoursSpans | None,
    Field(
        description="The active hours in the time zone of the site. Default: always. Outside, the rule rests"
    ),
]
MaxAge = Annotated[Period, Field(description="How old a value may be. An older value is unknown")]
Escalations = Annotated[
    list[Escalation],
    Field(max_length=ESCALATIONS_LIMIT, description="The earliest first"),
    AfterValidator(_check_escalations),
]
ReminderInterval = Annotated[
    Annotated[str, AfterValidator(make_duration_check("PT1M", "P31D")), DURATION] | None,
    Field(description="The interval of reminders of an unacknowledged firing alert (`alert.reminder`)"),
]
Text = Annotated[Description | None, Field(description="What to do when the rule fires. Alerts show it")]
DryRun = Annotated[bool, Field(description="Whether alerts are recorded, but not delivered")]


def _each_condition(body: "_Conditions") -> Iterator[tuple[ConditionPath, dict[str, Any]]]:
    if "condition" in body.model_fields_set:
        yield ("condition",), body.condition.stored()
    for index, level in enumerate(body.levels if "levels" in body.model_fields_set else ()):
        yield ("levels", index, "condition"), level.condition.stored()


class _Conditions(RequestBody):
    """The condition of a rule, or its levels."""

    severity: Severity = make_omittable_field()
    condition: SingleCondition = make_omittable_field()
    levels: Levels = make_omittable_field()

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if "levels" in self.model_fields_set and self.model_fields_set & {"severity", "condition"}:
            raise make_refusal(
                ("levels",),
                CodedValueError("condition_or_levels", "Send either `severity` and `condition`, or `levels`"),
            )
        return self

    @model_validator(mode="after")
    def _either_indices_or_samples(self) -> Self:
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
                    "The rule mixes indices, which are known at the end of a period, with samples, which "
                    "arrive at any time. Create two rules",
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
                            "nested_boxes",
                            "A part under `boxes` applies to each box. It cannot name or count boxes",
                        ),
                    )
                if part.leaf and not part.each_box and "box" not in part.node:
                    raise make_refusal(
                        path,
                        CodedValueError(
                            "leaf_without_box",
                            "The rule is on the whole site. Put this part under `boxes`, or name its `box`",
                        ),
                    )
        return self


class RuleDefinition(_Conditions):
    """The conditions of a rule, and the handling of its alerts."""

    scope: Scoped = None
    active: Active = None
    max_age: MaxAge = MAX_AGE
    escalations: Escalations = Field(default_factory=list)
    remind_every: ReminderInterval = None

    @model_validator(mode="wrap")
    @classmethod
    def _complete(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        missing = []
        if isinstance(given, Mapping) and "levels" not in given:
            missing = [name for name in ("severity", "condition") if name not in given]
        error = CodedValueError(
            "missing_field", "Field required. Send `severity` and `condition`, or `levels`"
        )
        return validate_with_missing(given, handler, [MissingField(name, error) for name in missing])

    def definition(self) -> dict[str, Any]:
        """Convert to the definition that is stored, with all defaults."""
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
    """The name of a rule, and its site."""

    organisation_id: TenantId = None
    site_id: Annotated[Identifier, Field(description="The site. The rule applies to its boxes")]
    name: Name
    description: Text = None


class RuleCreate(RuleDefinition, _Named):
    """A new rule."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLES["threshold"]["value"]]})

    enabled: bool = True
    dry_run: DryRun = False


class RuleChange(_Conditions):
    """The fields of a rule that may change. Conditions, levels and lists are replaced as a whole."""

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
