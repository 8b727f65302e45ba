"""Generates the tables of docs/indices.md from the code."""

from collections.abc import Callable, Mapping
from datetime import time
from functools import partial
from typing import Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices import (
    indoor_comfort,
    mould_risk,
    noise_emergence,
    noise_levels,
    odour_hours,
    who_guidelines,
)
from app.environmental_indices.index_definitions import BANDS_BY_METHOD, INDEX_DEFINITIONS
from app.environmental_indices.index_results import NO_VALUE_REASONS, BandScale, IndexBand
from app.environmental_indices.method_registry import METHODS
from app.environmental_indices.outdoor_air_indices import ATMO_SCALES, EAQI_SCALES
from app.environmental_indices.site_surroundings import KINDS_BY_SETTING
from tools.markdown_tables import render_rows

_HOUR_S: Final = 3600


def render_methods() -> str:
    body = []
    for method in METHODS.values():
        source = method.citation
        where = source.document if source.url is None else f"[{source.document}]({source.url})"
        status = "`unverified` " if source.status == "unverified" else ""
        body.append(
            (
                f"`{method.name}` {method.version}",
                f"{method.title.en} / {method.title.fr}",
                method.period,
                ", ".join(f"`{metric}`" for metric in method.metrics),
                method.unit,
                method.coverage,
                status + where,
                source.basis,
            )
        )
    header = ("method, version", "title", "of", "metrics", "unit", "coverage", "source")
    return render_rows(*header, "where the numbers were read", body=body)


def render_kinds() -> str:
    body = [(name, ", ".join(f"`{kind}`" for kind in sorted(of))) for name, of in KINDS_BY_SETTING.items()]
    return render_rows("place", "kinds", body=body)


def render_periods() -> str:
    body = [
        (
            f"`{name}`",
            figure.where if figure.is_default else "",
            ", ".join(f"`{length}`" for length in figure.lengths) or "told by `noise`",
        )
        for name, figure in INDEX_DEFINITIONS.items()
    ]
    return render_rows("method", "unasked where", "periods", body=body)


def render_reasons() -> str:
    body = [(f"`{code}`", text.en, text.fr) for code, text in NO_VALUE_REASONS.items()]
    return render_rows("reason", "meaning", "en français", body=body)


def render_bounds(scales: Mapping[str, BandScale]) -> str:
    bands = next(iter(scales.values())).bands
    names = [f"{band.label.en} / {band.label.fr} (`{band.colour}`)" for band in bands]
    body = [
        (f"`{metric}`", *(f"{bound:g}" for bound in scale.bounds), "above")
        for metric, scale in scales.items()
    ]
    return render_rows("pollutant", *names, body=body)


def render_guidelines() -> str:
    metrics = ("pm2_5", "pm10", "no2", "so2", "co", "o3")
    lines: list[tuple[str, Mapping[str, float]]] = [
        ("`who-24h`: mean of a local day", who_guidelines.GUIDELINES_24H),
        ("`who-o3-8h`: highest mean of 8 hours of a day", {"o3": who_guidelines.GUIDELINE_O3_8H}),
        ("`who-year`: mean of a local year", who_guidelines.GUIDELINES_YEAR),
        ("`who-o3-peak-season`: worst six months", {"o3": who_guidelines.GUIDELINE_O3_PEAK}),
    ]
    body = [
        (what, *(f"{levels[of]:g} {METRICS_BY_NAME[of].unit}" if of in levels else "" for of in metrics))
        for what, levels in lines
    ]
    return render_rows("figure", *(f"`{metric}`" for metric in metrics), body=body)


def _clock(at: time) -> str:
    return f"{at.hour}" if at.minute == 0 else f"{at:%H:%M}"


def render_parts_of_the_day() -> str:
    body = [
        (f"`{country}`", *(f"{_clock(part.begin)}-{_clock(part.end)} h" for part in parts))
        for country, parts in noise_levels.DAY_PARTS.items()
    ]
    return render_rows("country", "day", "evening", "night", body=body)


def render_terms() -> str:
    def span(seconds: float) -> str:
        return f"{seconds / _HOUR_S:g} h" if seconds >= _HOUR_S else f"{seconds / 60:g} min"

    body = [(span(longest), f"+{added:g} dB(A)") for longest, added in noise_emergence.CORRECTIONS]
    return render_rows("lasts up to", "the limit is higher by", body=[*body, ("more", "0")])


def render_materials() -> str:
    body = [
        (f"`{name}`", *(f"{value:g}" for value in material))
        for name, material in mould_risk.SENSITIVITIES.items()
    ]
    return render_rows("material", "k1 below 1", "k1 from 1", "A", "B", "C", "least RHcrit", body=body)


def render_areas() -> str:
    body = [(f"`{area}`", f"{limit:g} %") for area, limit in odour_hours.ODOUR_HOUR_LIMITS.items()]
    return render_rows("area", "hours of a year", body=body)


def render_categories() -> str:
    body = [
        (
            band.label.en,
            *(
                f"{low:g}-{high:g} °C"
                for low, high in (ranges[level] for ranges in indoor_comfort.COMFORT_RANGES.values())
            ),
        )
        for level, band in enumerate(indoor_comfort.COMFORT_CATEGORIES[:-1])
    ]
    return render_rows("category", *indoor_comfort.COMFORT_RANGES, body=body)


def render_needs() -> str:
    body = [
        (f"`{use}`", text.en, text.fr, f"{need:g} lx")
        for use, (need, text) in indoor_comfort.LIGHT_NEEDS.items()
    ]
    return render_rows("use", "what", "en français", "at least", body=body)


def render_bands() -> str:
    body = [
        (f"`{method}`", *(", ".join(each) for each in zip(*map(_class, found), strict=True)))
        for method, found in BANDS_BY_METHOD.items()
    ]
    return render_rows("method", "classes", "in English", "en français", body=body)


def _class(band: IndexBand) -> tuple[str, str, str]:
    return f"`{band.key}`", band.label.en, band.label.fr


INDEX_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "city-methods": render_methods,
    "city-reasons": render_reasons,
    "city-kinds": render_kinds,
    "city-periods": render_periods,
    "city-bands": render_bands,
    "eaqi-bounds": partial(render_bounds, EAQI_SCALES),
    "atmo-bounds": partial(render_bounds, ATMO_SCALES),
    "who-guidelines": render_guidelines,
    "noise-parts": render_parts_of_the_day,
    "emergence-terms": render_terms,
    "mould-materials": render_materials,
    "odour-areas": render_areas,
    "comfort-categories": render_categories,
    "light-needs": render_needs,
}
