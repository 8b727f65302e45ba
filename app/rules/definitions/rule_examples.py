"""Lists example rules for the OpenAPI document; Swagger UI offers them to try."""

from typing import Any, Final

SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"

_PM: Final[dict[str, Any]] = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}


def _example(summary: str, name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (the fields of a rule)
    return {"summary": summary, "value": {"site_id": SITE, "name": name, **fields}}


def _single(summary: str, name: str, condition: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (the fields of a rule)
    return _example(summary, name, severity="warning", condition=condition, **fields)


EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "threshold": _single(
        "A threshold: above for ten minutes, cleared below a lower value",
        "Fine particles above the guideline",
        {**_PM, "for": "PT10M"},
    ),
    "attribute": _single(
        "A threshold per box, from an attribute",
        "Louder than this place may be",
        {"metric": "laeq", "operator": ">", "threshold": {"attribute": "noise_limit", "default": 65}},
    ),
    "range": _single(
        "A range: fires outside, resolves two degrees inside",
        "Archive too warm or too cold",
        {"metric": "temperature", "operator": "outside", "low": 14, "high": 20, "margin": 2, "for": "PT30M"},
    ),
    "mean": _single(
        "A mean over a day, with at least 75 % of the expected samples",
        "Fine particles, daily mean",
        {**_PM, "clear": 25, "function": "mean", "window": "P1D", "coverage": 75},
    ),
    "energy_mean": _single(
        "An energy mean of decibels over whole hours of the night; the first ends at 23:00",
        "Noise of the night",
        {"metric": "laeq", "operator": ">", "threshold": 55, "function": "energy_mean", "window": "PT1H"},
        active=[{"from": "23:00", "to": "06:00"}],
    ),
    "percentile": _single(
        "A percentile of a window",
        "Short peaks of nitrogen dioxide",
        {
            "metric": "no2",
            "operator": ">",
            "threshold": 200,
            "function": "percentile",
            "percentile": 95,
            "window": "PT1H",
        },
    ),
    "rate": _single(
        "A rate of change, per hour",
        "Something burns",
        {"metric": "co", "operator": ">", "threshold": 20, "function": "rate", "window": "PT5M", "repeat": 3},
    ),
    "flat_line": _single(
        "A sensor that reports a constant value",
        "Humidity stuck",
        {"metric": "humidity", "operator": "<=", "threshold": 0, "function": "spread", "window": "PT6H"},
    ),
    "silence": _single("Silence of a box", "Box silent", {"no_data": "PT15M"}, scope={"kinds": ["street"]}),
    "event": _single(
        "Events that a box recognised",
        "Shots",
        {"event": "gunshot", "confidence": 0.7, "class": "pistol", "count": 2, "window": "PT1M"},
        description="Call the police control room: 17.",
    ),
    "all": _single(
        "Several conditions together",
        "Mould grows",
        {
            "all": [
                {"metric": "humidity", "operator": ">", "threshold": 80, "clear": 75},
                {"metric": "temperature", "operator": "inside", "low": 15, "high": 30},
                {"not": {"no_data": "PT30M", "metric": "humidity"}},
            ],
            "for": "PT6H",
            "keep_firing_for": "PT1H",
        },
    ),
    "any": _single(
        "One of several conditions",
        "Air not fit for a school",
        {
            "any": [
                {"metric": "co2", "operator": ">", "threshold": 1500, "clear": 1000},
                {"metric": "hcho", "operator": ">", "threshold": 80},
            ]
        },
        scope={"tags": ["school"]},
    ),
    "share": _single(
        "Across boxes: half of the boxes in streets",
        "Dust over the whole quarter",
        {"boxes": _PM, "share": 50, "scope": {"kinds": ["street"]}, "for": "PT15M"},
    ),
    "boxes": _single(
        "Across boxes: three are loud while the reference is quiet",
        "Noise that is not the weather's",
        {
            "all": [
                {"boxes": {"metric": "laeq", "operator": ">", "threshold": 70}, "at_least": 3},
                {"box": "box-0001", "metric": "laeq", "operator": "<", "threshold": 60},
            ]
        },
    ),
    "ladder": _example(
        "Levels of severity, with escalations and reminders",
        "Nitrogen dioxide",
        levels=[
            {
                "severity": "info",
                "condition": {"metric": "no2", "operator": ">", "threshold": 40, "clear": 35},
            },
            {
                "severity": "warning",
                "condition": {"metric": "no2", "operator": ">", "threshold": 100, "clear": 90, "for": "PT5M"},
            },
            {
                "severity": "critical",
                "condition": {"metric": "no2", "operator": ">", "threshold": 200, "clear": 180},
            },
        ],
        escalations=[{"after": "PT30M", "severity": "warning"}, {"after": "PT2H", "severity": "critical"}],
        remind_every="PT1H",
    ),
    "index": _single(
        "An index by its class, evaluated when each hour is over",
        "European air quality index: poor",
        {"index": "eaqi", "band": "poor", "clear_band": "fair", "for": "PT1H"},
    ),
    "index_value": _single(
        "An index of each day, by its value",
        "Noise of a day above the limit",
        {
            "index": "lden-day",
            "country": "FR",
            "operator": ">",
            "threshold": {"attribute": "lden_limit", "default": 68},
        },
        scope={"kinds": ["street"]},
    ),
    "dry_run": _single(
        "A dry run: alerts are recorded, but not delivered",
        "Odour near the plant",
        {"metric": "odour", "operator": ">", "threshold": 5, "for": "PT10M"},
        dry_run=True,
        max_age="PT30M",
    ),
}
"""Named examples of bodies of `POST /v1/rules`, in the form of OpenAPI."""
