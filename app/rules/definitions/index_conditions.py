"""The leaves of conditions that look at a city's index: its value, or its class.

Owns which methods rules can ask for, and that a choice is one which the method heeds.
"""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from app.indicators.index_definitions import (
    BANDS_BY_METHOD,
    INDEX_DEFINITIONS,
    SUPPORTED_OPTIONS,
    MouldMaterial,
    NoiseCountry,
    OdourArea,
    RoomUse,
)
from app.indicators.period_selection import PeriodLength
from app.indicators.thermal_comfort import Season
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
from app.rules.indicators.indicator_conditions import rank_band
from app.rules.indicators.indicator_query import QUERY_CHOICES

INDEX_NAMES: Final = sorted(name for name, figure in INDEX_DEFINITIONS.items() if figure.lengths)
"""The methods that rules can ask for: all that are of a period."""


BAND_NAMES: Final = sorted({band.key for bands in BANDS_BY_METHOD.values() for band in bands})
BandName = Annotated[str, Field(json_schema_extra={"enum": BAND_NAMES})]


def _method(name: str) -> str:
    if name not in INDEX_NAMES:
        raise CodedValueError(
            "unknown_method",
            f"{format_rejected_value(name)} is no method that rules can ask for; there are "
            f"{', '.join(INDEX_NAMES)}",
        )
    return name


type MethodName = Annotated[
    str,
    AfterValidator(_method),
    Field(
        description="A method of `GET /v1/indices` that is of a period",
        json_schema_extra={"enum": INDEX_NAMES},
    ),
]
"""The name of a method that rules can ask for."""


class _IndexNode(LeafNode):
    """A node with an index."""

    index: MethodName
    period: Annotated[
        PeriodLength | None,
        Field(description="What it is of. Left out: the first of the method's `periods`"),
    ] = None
    metric: Annotated[
        MetricName | None,
        Field(description="Of methods that have a value for each metric, and only there"),
    ] = None
    country: Annotated[
        NoiseCountry | None,
        Field(description="Whose parts of the day noise goes by. Left out: that of the site's time zone"),
    ] = None
    season: Annotated[
        Season | None, Field(description="Of thermal comfort. Left out: that of each period")
    ] = None
    use: Annotated[RoomUse | None, Field(description="Of the room, for its light")] = None
    material: Annotated[MouldMaterial | None, Field(description="What mould grows on")] = None
    area: Annotated[OdourArea | None, Field(description="For odour hours")] = None
    odour: Annotated[
        Number | None, Field(ge=0, le=1e7, description="It smells above this, ou/m³: 1 where it is left out")
    ] = None

    @model_validator(mode="after")
    def _of_the_method(self) -> Self:
        figure = INDEX_DEFINITIONS[self.index]
        if self.period is None:
            self.period = figure.lengths[0]
        elif self.period not in figure.lengths:
            raise make_refusal(
                ("period",),
                CodedValueError("invalid_period", f"{self.index} is of: {', '.join(figure.lengths)}"),
            )
        metrics = figure.method.metrics
        if figure.each and self.metric is None:
            raise make_missing_refusal("metric", detail=f"Field required: one of {', '.join(metrics)}")
        if not figure.each and self.metric is not None:
            raise make_refusal(
                ("metric",),
                CodedValueError("choice_not_of_index", f"{self.index} has one value: leave `metric` out"),
            )
        if self.metric is not None and self.metric not in metrics:
            raise make_refusal(
                ("metric",),
                CodedValueError("metric_not_of_index", f"{self.index} is of: {', '.join(metrics)}"),
            )
        heeded = SUPPORTED_OPTIONS.get(self.index, frozenset())
        for name in QUERY_CHOICES:
            if getattr(self, name) is not None and name not in heeded:
                raise make_refusal(
                    (name,),
                    CodedValueError(
                        "choice_not_of_index",
                        f"{self.index} does not heed `{name}`"
                        + (f"; it heeds {', '.join(sorted(heeded))}" if heeded else ""),
                    ),
                )
        return self


class IndexNode(_IndexNode):
    """A city's index of each period that is over, compared with a number."""

    operator: Annotated[Operator, OperatorCheck]
    threshold: Annotated[Operand, Field(description="In the method's unit")]
    clear: Annotated[
        Operand | None,
        Field(
            description="A firing rule resolves with the first period at or below this (`>`, `>=`), or at "
            "or above it (`<`, `<=`). Left out: the threshold, where a value that would fire does not resolve"
        ),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.clear = resolve_clear(self.operator, self.threshold, self.clear)
        return self


class IndexBandNode(_IndexNode):
    """A city's index of each period that is over, by its class."""

    band: Annotated[
        BandName,
        Field(
            description="A class of the index, by its `key`: of this one or a worse one", examples=["poor"]
        ),
    ]
    clear_band: Annotated[
        BandName | None,
        Field(
            description="A firing rule resolves with the first period of this class or a better one. Left "
            "out: the one that is better than `band`",
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
                ("band",), CodedValueError("unknown_band", "Each value is of the best class or a worse one")
            )
        if ranks.get("clear_band", 0) >= ranks["band"]:
            raise make_refusal(
                ("clear_band",),
                CodedValueError("invalid_clear", "`clear_band` is better than `band`: else it would resolve"),
            )
        return self


def _rank(method: str, field: str, name: str) -> float:
    try:
        return rank_band(method, name)
    except KeyError:
        names = [band.key for band in BANDS_BY_METHOD.get(method, ())]
        detail = f"The classes of {method}, the best one first: {', '.join(names)}"
        raise make_refusal(
            (field,),
            CodedValueError("unknown_band", detail if names else f"{method} has no classes: give a number"),
        ) from None
