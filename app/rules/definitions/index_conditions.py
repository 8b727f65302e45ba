"""Defines the JSON of rule conditions on indices: comparisons of an index's value or class.

It validates which methods a rule may query, and which options each method supports.
"""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from app.environmental_indices.index_definitions import (
    BANDS_BY_METHOD,
    INDEX_DEFINITIONS,
    SUPPORTED_OPTIONS,
    MouldMaterial,
    NoiseCountry,
    OdourArea,
    RoomUse,
)
from app.environmental_indices.indoor_comfort import Season
from app.environmental_indices.period_selection import PeriodLength
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.rules.definitions.condition_fields import (
    MetricName,
    Number,
    Operand,
    make_missing_refusal,
    make_refusal,
)
from app.rules.definitions.condition_leaves import LeafNode, Operator, OperatorCheck, resolve_clear
from app.rules.index_rules.index_condition_evaluation import rank_band
from app.rules.index_rules.index_selection import QUERY_CHOICES

INDEX_NAMES: Final = sorted(name for name, figure in INDEX_DEFINITIONS.items() if figure.lengths)
"""The methods that rules can query: all methods that have a period."""

BAND_NAMES: Final = sorted({band.key for bands in BANDS_BY_METHOD.values() for band in bands})
BandName = Annotated[str, Field(json_schema_extra={"enum": BAND_NAMES})]


def _method(name: str) -> str:
    if name not in INDEX_NAMES:
        raise CodedValueError(
            "unknown_method",
            f"{format_rejected_value(name)} is not a method for rules. The methods are "
            f"{', '.join(INDEX_NAMES)}",
        )
    return name


type MethodName = Annotated[
    str,
    AfterValidator(_method),
    Field(
        description="A method of `GET /v1/indices` that has periods",
        json_schema_extra={"enum": INDEX_NAMES},
    ),
]
"""The name of a method that rules can query."""


class _IndexNode(LeafNode):
    """A leaf that queries an index."""

    index: MethodName
    period: Annotated[
        PeriodLength | None,
        Field(description="The period of the index. Default: the first of the method's `periods`"),
    ] = None
    metric: Annotated[
        MetricName | None,
        Field(description="The metric. Only for methods that have a value for each metric"),
    ] = None
    country: Annotated[
        NoiseCountry | None,
        Field(
            description="Its parts of the day apply to noise. Default: the country of the site's time zone"
        ),
    ] = None
    season: Annotated[
        Season | None, Field(description="The season of thermal comfort. Default: that of each period")
    ] = None
    use: Annotated[RoomUse | None, Field(description="The use of the room, for light")] = None
    material: Annotated[MouldMaterial | None, Field(description="The material on which mould may grow")] = (
        None
    )
    area: Annotated[OdourArea | None, Field(description="The kind of area, for odour hours")] = None
    odour: Annotated[
        Number | None, Field(ge=0, le=1e7, description="The odour threshold in ou/m³. Default: 1")
    ] = None

    @model_validator(mode="after")
    def _of_the_method(self) -> Self:
        figure = INDEX_DEFINITIONS[self.index]
        if self.period is None:
            self.period = figure.lengths[0]
        elif self.period not in figure.lengths:
            raise make_refusal(
                ("period",),
                CodedValueError(
                    "invalid_period", f"{self.index} has the periods {', '.join(figure.lengths)}"
                ),
            )
        metrics = figure.method.metrics
        if figure.each and self.metric is None:
            raise make_missing_refusal("metric", detail=f"Field required. Choose one of {', '.join(metrics)}")
        if not figure.each and self.metric is not None:
            raise make_refusal(
                ("metric",),
                CodedValueError("choice_not_of_index", f"{self.index} has no metrics. Leave `metric` out"),
            )
        if self.metric is not None and self.metric not in metrics:
            raise make_refusal(
                ("metric",),
                CodedValueError("metric_not_of_index", f"{self.index} has the metrics {', '.join(metrics)}"),
            )
        supported = SUPPORTED_OPTIONS.get(self.index, frozenset())
        for name in QUERY_CHOICES:
            if getattr(self, name) is not None and name not in supported:
                raise make_refusal(
                    (name,),
                    CodedValueError(
                        "choice_not_of_index",
                        f"{self.index} does not support `{name}`"
                        + (f". It supports {', '.join(sorted(supported))}" if supported else ""),
                    ),
                )
        return self


class IndexNode(_IndexNode):
    """Compares the index of each complete period with a number."""

    operator: Annotated[Operator, OperatorCheck]
    threshold: Annotated[Operand, Field(description="In the unit of the method")]
    clear: Annotated[
        Operand | None,
        Field(
            description="A firing rule resolves with the first period at or below this (`>`, `>=`), or at "
            "or above it (`<`, `<=`). Default: the threshold; a value that fires does not resolve"
        ),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.clear = resolve_clear(self.operator, self.threshold, self.clear)
        return self


class IndexBandNode(_IndexNode):
    """Compares the class of the index of each complete period with a class."""

    band: Annotated[
        BandName,
        Field(
            description="The `key` of a class. The condition holds in this class or a worse one",
            examples=["poor"],
        ),
    ]
    clear_band: Annotated[
        BandName | None,
        Field(
            description="A firing rule resolves with the first period of this class or a better one. "
            "Default: the next class better than `band`",
            examples=["moderate"],
        ),
    ] = None

    @model_validator(mode="after")
    def _classes(self) -> Self:
        ranks = {}
        for field in ("band", "clear_band"):
            if (name := getattr(self, field)) is not None:
                ranks[field] = _rank(self.index, field, name)
        if ranks["band"] == 1:
            raise make_refusal(
                ("band",),
                CodedValueError(
                    "unknown_band", "Every value has the best class or a worse one. Choose a worse class"
                ),
            )
        if ranks.get("clear_band", 0) >= ranks["band"]:
            raise make_refusal(
                ("clear_band",),
                CodedValueError("invalid_clear", "`clear_band` must be better than `band`"),
            )
        return self


def _rank(method: str, field: str, name: str) -> float:
    try:
        return rank_band(method, name)
    except KeyError:
        names = [band.key for band in BANDS_BY_METHOD.get(method, ())]
        detail = f"Unknown class. The classes of {method}, the best first: {', '.join(names)}"
        raise make_refusal(
            (field,),
            CodedValueError(
                "unknown_band", detail if names else f"{method} has no classes. Compare it with a number"
            ),
        ) from None
