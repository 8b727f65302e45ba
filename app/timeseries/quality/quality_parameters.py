"""Parses the query parameters on the quality of readings, and refuses invalid combinations."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query

from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.timeseries.quality.sample_flagging import FLAGS, Flag

_NAMED: Final = "|".join(FLAGS)
FlagsParameter = Annotated[
    bool,
    Query(description="For raw values: add the quality flags of each value (`flags`; empty if it has none)"),
]
ExcludeParameter = Annotated[
    str | None,
    Query(
        max_length=80,
        description="For buckets: leave out samples with one of these flags, separated by commas",
        examples=["spike,flat_line"],
        json_schema_extra={"pattern": f"^({_NAMED})(,({_NAMED}))*$"},
    ),
]
CorrectedParameter = Annotated[
    bool,
    Query(
        description="Apply the box's corrections: raw values get a second value (`corrected`), and buckets "
        "aggregate corrected values"
    ),
]


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """The requested flags and corrections.

    Attributes:
        flags: whether to add flags to raw values.
        exclude: samples with one of these flags are left out of buckets.
        corrected: whether to apply corrections.
    """

    flags: bool
    exclude: tuple[Flag, ...]
    corrected: bool

    @classmethod
    def of(cls, *, flags: bool, exclude: str | None, corrected: bool, bucketed: bool) -> "QualityOptions":
        """Validate the parameters.

        Args:
            flags: whether flags are requested.
            exclude: names of flags, separated by commas, or None.
            corrected: whether corrections are requested.
            bucketed: whether the request is for buckets.

        Raises:
            InvalidError: `unknown_flag`; `bucket_missing`: `exclude` needs buckets; `bucket_given`: `flags`
                needs raw values.
        """
        if exclude is not None and not bucketed:
            raise InvalidError(
                "`exclude` applies to buckets only. Add `bucket`, or use `flags`.", code="bucket_missing"
            )
        if flags and bucketed:
            raise InvalidError(
                "`flags` applies to raw values only. Omit `bucket`, or use `exclude`.",
                code="bucket_given",
            )
        return cls(flags, () if exclude is None else _parsed(exclude), corrected)

    def __bool__(self) -> bool:
        """Return whether any option is set."""
        return self.flags or self.corrected or bool(self.exclude)


def _parsed(text: str) -> tuple[Flag, ...]:
    names = text.split(",")
    for name in names:
        if name not in FLAGS:
            raise InvalidError(
                f"The flag {format_rejected_value(name)} is not one of {', '.join(FLAGS)}.",
                code="unknown_flag",
            )
    return tuple(flag for flag in FLAGS if flag in names)
