"""Parses the query parameters on the quality of readings, and refuses combinations that make no sense.

Owns the names in the query.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query

from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.timeseries.quality.quality_flags import FLAGS, Flag

_NAMED: Final = "|".join(FLAGS)
FlagsParameter = Annotated[
    bool,
    Query(
        description="Of raw values: whether each says what is odd about it (`flags`); empty where nothing is"
    ),
]
ExcludeParameter = Annotated[
    str | None,
    Query(
        max_length=80,
        description="Of buckets: leave out samples that have one of these flags, with commas",
        examples=["spike,flat_line"],
        json_schema_extra={"pattern": f"^({_NAMED})(,({_NAMED}))*$"},
    ),
]
CorrectedParameter = Annotated[
    bool,
    Query(
        description="Apply the box's corrections: raw values say beside what was measured what becomes of it "
        "(`corrected`), buckets are made of corrected values"
    ),
]


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """What is asked beside values.

    Attributes:
        flags: whether raw values say their flags.
        exclude: samples that have one of these are left out of buckets.
        corrected: whether corrections are applied.
    """

    flags: bool
    exclude: tuple[Flag, ...]
    corrected: bool

    @classmethod
    def of(cls, *, flags: bool, exclude: str | None, corrected: bool, bucketed: bool) -> "QualityOptions":
        """Check it.

        Raises:
            InvalidError: `unknown_flag`; `bucket_missing`: `exclude` is for buckets; `bucket_given`: `flags`
                are for raw values.
        """
        if exclude is not None and not bucketed:
            raise InvalidError(
                "`exclude` is for buckets: give `bucket` too, or ask for `flags`.", code="bucket_missing"
            )
        if flags and bucketed:
            raise InvalidError(
                "`flags` are those of raw values: leave `bucket` out, or `exclude` what has flags.",
                code="bucket_given",
            )
        return cls(flags, () if exclude is None else _parsed(exclude), corrected)

    def __bool__(self) -> bool:
        """Whether anything is asked."""
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
