"""Indices by REST: each is what its function gives of the same numbers, of the last period that is over."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from app.environmental_indices.dust_mites import compute_mite_risk
from app.environmental_indices.index_definitions import INDEX_DEFINITIONS
from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.indoor_air import (
    compute_indoor_benzene,
    compute_indoor_co2,
    compute_indoor_formaldehyde_hour,
    compute_indoor_formaldehyde_week,
)
from app.environmental_indices.indoor_comfort import (
    compute_humidex,
    compute_light,
    compute_thermal_comfort,
)
from app.environmental_indices.input_types import SoundLevels
from app.environmental_indices.mould_risk import compute_mould_index
from app.environmental_indices.noise_emergence import compute_noise_emergence
from app.environmental_indices.noise_levels import compute_lden_day, compute_lden_year, compute_leq
from app.environmental_indices.odour_hours import (
    EpisodeCriteria,
    compute_odour_hours,
    summarise_odour_episodes,
)
from app.environmental_indices.outdoor_air_indices import compute_atmo, compute_eaqi
from app.environmental_indices.period_selection import (
    TimePeriod,
    hour_containing,
    local_day,
    local_day_range,
)
from app.environmental_indices.who_guidelines import (
    compute_who_24h,
    compute_who_days_over,
    compute_who_o3_8h,
    compute_who_o3_peak_season,
    compute_who_year,
)
from tests.conftest import Tenant
from tests.integration.environmental_indices.town import PARIS, Record, ask, measure, us

# The clocks go forward in the night to the 29th: it has 23 hours.
SATURDAY, SUNDAY = date(2026, 3, 28), date(2026, 3, 29)
AT = "2026-03-30T05:10:00Z"
STREET = Record.of(
    "2026-03-27T15:00",
    "2026-03-30T06:00",
    600,
    1,
    pm2_5=(4, 30),
    no2=(5, 80),
    o3=(30, 130),
    laeq=(45, 75),
    odour=(0, 3),
)
QUIET = Record.of("2026-03-27T23:00", "2026-03-30T06:00", 600, 2, pm2_5=(1, 3), laeq=(30, 40)).without(
    "2026-03-29T04:00", "2026-03-29T14:00"
)
OFFICE = Record.of(
    "2026-03-01T22:00",
    "2026-03-30T06:00",
    1_800,
    3,
    co2=(500, 1_600),
    temperature=(18, 27),
    humidity=(35, 85),
    illuminance=(100, 900),
    hcho=(5, 90),
    benzene=(1, 4),
)


@pytest.fixture
async def street(tenant: Tenant, site_id: str) -> str:
    """A street with a loud box and a quiet one that was away on Sunday."""
    await measure(tenant, site_id, "loud", STREET)
    await measure(tenant, site_id, "quiet", QUIET)
    return site_id


@pytest.fixture
async def office(tenant: Tenant) -> str:
    """An office with a box, and one that never said a word."""
    body = {
        "name": "Compans",
        "kind": "office",
        "timezone": "Europe/Paris",
        "location": {"type": "Point", "coordinates": [1.4346, 43.6116]},
    }
    site: str = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    await measure(tenant, site, "room", OFFICE)
    (await tenant.client.post("/v1/boxes", json={"id": "mute", "site_id": site})).raise_for_status()
    return site


def outdoors() -> dict[tuple[str, str | None], IndexResult]:
    series = {name: STREET.hourly(name) for name in ("pm2_5", "no2", "o3")}
    levels, odour = STREET.levels(), STREET.samples("odour")
    hour, day = hour_containing(us("2026-03-30T04:00")), local_day(SUNDAY, PARIS)
    found: dict[tuple[str, str | None], IndexResult] = {
        ("eaqi", None): compute_eaqi(series, hour.start_us),
        ("atmo", None): compute_atmo(series, SUNDAY, PARIS),
        ("who-o3-8h", None): compute_who_o3_8h(series["o3"], SUNDAY, PARIS),
        ("leq", None): compute_leq(levels, hour),
        ("lden-day", None): compute_lden_day(levels, SUNDAY, PARIS, "FR"),
        ("odour-episodes", None): summarise_odour_episodes(odour, EpisodeCriteria(1.5, 1.5), day)[0],
        ("odour-hours", None): compute_odour_hours(odour, day, threshold=1.5),
        ("who-o3-peak-season", None): compute_who_o3_peak_season(series["o3"], 2025, PARIS),
        ("lden-year", None): compute_lden_year(levels, 2025, PARIS, "FR"),
    }
    for metric in ("pm2_5", "no2"):
        found["who-24h", metric] = compute_who_24h(metric, series[metric], SUNDAY, PARIS)
        found["who-year", metric] = compute_who_year(metric, series[metric], 2025, PARIS)
    for metric in ("pm2_5", "no2", "o3"):
        found["who-days-over", metric] = compute_who_days_over(metric, series[metric], 2025, PARIS)
    return found


def indoors() -> dict[tuple[str, str | None], IndexResult]:
    of = {name: OFFICE.hourly(name) for name in OFFICE.values}
    hour = hour_containing(us("2026-03-30T04:00"))
    week, first = local_day_range(date(2026, 3, 23), SUNDAY, PARIS), date(2026, 3, 2)
    return {
        ("indoor-co2", None): compute_indoor_co2(of["co2"], hour),
        ("indoor-formaldehyde-hour", None): compute_indoor_formaldehyde_hour(
            of["hcho"], of["temperature"], hour
        ),
        ("indoor-formaldehyde-week", None): compute_indoor_formaldehyde_week(
            of["hcho"], of["temperature"], week
        ),
        ("indoor-benzene", None): compute_indoor_benzene(of["benzene"], week),
        ("mite-risk", None): compute_mite_risk(of["temperature"], of["humidity"], first, SUNDAY, PARIS),
        ("mould-index", None): compute_mould_index(
            of["temperature"], of["humidity"], local_day_range(first, SUNDAY, PARIS), material="sensitive"
        ),
        ("thermal-comfort", None): compute_thermal_comfort(of["temperature"], hour, "heating"),
        ("humidex", None): compute_humidex(of["temperature"], of["humidity"], hour),
        ("light", None): compute_light(of["illuminance"], hour, "corridor"),
    }


def check(shown: Mapping[str, Any], result: IndexResult) -> None:
    """An answer says what the function gave."""
    start, end = (shown["period"][name].replace("Z", "") for name in ("start", "end"))
    assert (us(start), us(end)) == (result.start_us, result.end_us)
    assert shown["reason"] == result.reason
    assert shown["coverage"] == pytest.approx(result.coverage)
    assert shown["value"] == (None if result.value is None else pytest.approx(result.value, rel=1e-6))
    assert (shown["band"] or {}).get("key") == (result.band.key if result.band else None)
    assert (shown["limit"], shown["exceeded"]) == (result.limit, result.exceeded)
    assert shown["ratio"] == (None if result.ratio is None else pytest.approx(result.ratio, rel=1e-6))
    for part, found in zip(shown["components"], result.components, strict=True):
        assert (part["key"], part["reason"], part["level"]) == (found.key, found.reason, found.level)
        assert part["value"] == (None if found.value is None else pytest.approx(found.value, rel=1e-6))
    assert [note["fr"] for note in shown["notes"]] == [note.fr for note in result.notes]


def by_name(answer: Mapping[str, Any], box: str) -> dict[tuple[str, str | None], Any]:
    return {(each["method"], each["metric"]): each for each in answer["data"] if each["box"] == box}


async def test_what_a_street_and_an_office_come_to_is_what_the_functions_give(
    tenant: Tenant, street: str, office: str
) -> None:
    wanted = outdoors()
    yearly = {name for name, _ in wanted if INDEX_DEFINITIONS[name].lengths[0] == "year"}
    answer = await ask(tenant.client, street, at=AT, odour=1.5)
    found = by_name(answer, "loud")
    # Unasked there is nothing of rooms, and nothing of a year.
    assert found.keys() == {each for each in wanted if each[0] not in yearly}
    found |= by_name(await ask(tenant.client, street, at=AT, box="loud", method=sorted(yearly)), "loud")
    assert found.keys() == wanted.keys()
    for each, result in wanted.items():
        check(found[each], result)
    assert found["lden-day", None]["period"] == {
        "start": "2026-03-29T04:00:00Z",
        "end": "2026-03-30T04:00:00Z",
    }
    assert (answer["timezone"], answer["country"]) == ("Europe/Paris", "FR")
    # Nothing of the year before was measured: no value, but why.
    assert {found[name, None]["reason"] for name in ("lden-year", "who-o3-peak-season")} == {"no_data"}
    rooms = indoors()
    answer = await ask(tenant.client, office, at=AT, material="sensitive", use="corridor")
    assert by_name(answer, "room").keys() == rooms.keys()
    for each, result in rooms.items():
        assert result.value is not None, each
        check(by_name(answer, "room")[each], result)
    assert by_name(answer, "mute") == {}
    assert wanted.keys() | rooms.keys() >= {
        (name, None) for name in INDEX_DEFINITIONS if not INDEX_DEFINITIONS[name].each
    } - {("noise-emergence", None)}


async def test_the_worst_box_is_the_site_and_what_was_not_measured_has_no_value(
    tenant: Tenant, street: str
) -> None:
    answer = await ask(tenant.client, street, at=AT, method=["lden-day", "eaqi", "indoor-co2"])
    # Away for ten hours of daylight, it has no level of that day.
    quiet = by_name(answer, "quiet")
    assert (quiet["lden-day", None]["value"], quiet["lden-day", None]["reason"]) == (None, "coverage_too_low")
    check(quiet["lden-day", None], compute_lden_day(QUIET.levels(), SUNDAY, PARIS, "FR"))
    assert {each["box"]: each["value"] for each in answer["data"] if each["method"] == "eaqi"}["quiet"] == 1.0
    assert [(each["method"], each["box"]) for each in answer["worst"]] == [
        ("lden-day", "loud"),
        ("eaqi", "loud"),
    ]
    # Who is asked by name answers, though it never measured that.
    assert quiet["indoor-co2", None]["reason"] == "metric_missing"
    other = await ask(tenant.client, street, at=AT, method="lden-day", box="loud", country="EU")
    check(other["data"][0], compute_lden_day(STREET.levels(), SUNDAY, PARIS, "EU"))


async def test_a_noise_stands_out_of_the_rest_of_its_day_or_night(tenant: Tenant, street: str) -> None:
    spans = [
        ("2026-03-28T23:00:00Z", "2026-03-29T00:00:00Z"),
        ("2026-03-28T10:00:00Z", "2026-03-28T11:00:00Z"),
        # What overlaps is one.
        ("2026-03-28T10:30:00Z", "2026-03-28T11:30:00Z"),
    ]
    answer = await ask(
        tenant.client, street, box="loud", method="noise-emergence", noise=[f"{a}/{b}" for a, b in spans]
    )
    levels = SoundLevels.of_samples(STREET.times, STREET.values["laeq"], 600)
    noisy = [
        TimePeriod(us("2026-03-28T10:00"), us("2026-03-28T11:30")),
        TimePeriod(us("2026-03-28T23:00"), us("2026-03-29T00:00")),
    ]
    day = TimePeriod(us("2026-03-28T06:00"), us("2026-03-28T21:00"))
    night = TimePeriod(us("2026-03-28T21:00"), us("2026-03-29T05:00"))
    assert len(answer["data"]) == 2
    for shown, period in zip(answer["data"], (day, night), strict=True):
        result = compute_noise_emergence(levels, noisy, period, PARIS)
        assert result.value is not None
        check(shown, result)


async def test_a_history_has_each_period_of_each_box_once_whatever_the_pages(
    tenant: Tenant, street: str
) -> None:
    span = {"from": "2026-03-27T22:00:00Z", "to": "2026-03-29T12:00:00Z"}
    wanted = [
        (box, metric, day)
        for day in (SATURDAY, SUNDAY)
        for box, metrics in (("loud", ("no2", "pm2_5")), ("quiet", ("pm2_5",)))
        for metric in metrics
    ]
    for limit in (100, 2):
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await ask(
                tenant.client, street, "/history", method="who-24h", limit=limit, **span, **cursor
            )
            assert len(page["data"]) <= limit
            found += page["data"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert page["method"]["name"] == "who-24h"
        assert [(each["box"], each["metric"]) for each in found] == [each[:2] for each in wanted]
        for shown, (box, metric, day) in zip(found, wanted, strict=True):
            record = STREET if box == "loud" else QUIET
            check(shown, compute_who_24h(metric, record.hourly(metric), day, PARIS))
    # The 29th is the hour shorter, and what is not over is not there.
    hours = await ask(tenant.client, street, "/history", method="leq", box="loud", period="day", **span)
    days = [local_day(day, PARIS) for day in (SATURDAY, SUNDAY)]
    for shown, period in zip(hours["data"], days, strict=True):
        check(shown, compute_leq(STREET.levels(), period))
    assert [(end - start) // 3_600_000_000 for start, end in days] == [24, 23]


async def test_what_cannot_be_answered_is_refused_with_what_to_ask_instead(
    tenant: Tenant, other_tenant: Tenant, street: str
) -> None:
    for path, params, status, code in (
        ("", {"method": "warp"}, 422, "unknown_method"),
        ("", {"method": "noise-emergence"}, 422, "noise_missing"),
        ("", {"method": "noise-emergence", "noise": "2026-03-28T10:00:00Z"}, 422, "invalid_noise"),
        ("", {"box": "nobody"}, 404, "not_found"),
        ("/history", {"method": "noise-emergence"}, 422, "method_without_periods"),
        ("/history", {"method": "eaqi", "period": "day"}, 422, "invalid_period"),
        ("/history", {"method": "eaqi", "from": "2016-01-01T00:00:00Z"}, 422, "range_too_large"),
        ("/history", {"method": "eaqi", "cursor": "W10"}, 422, "invalid_cursor"),
        ("/history", {"method": "eaqi", "from": AT, "to": "2026-03-01T00:00:00Z"}, 422, "range_reversed"),
    ):
        answer = await tenant.client.get(f"/v1/sites/{street}/indices{path}", params=params)
        assert (answer.status_code, answer.json()["code"]) == (status, code), params
    for path in ("", "/history?method=eaqi"):
        assert (await other_tenant.client.get(f"/v1/sites/{street}/indices{path}")).status_code == 404


async def test_the_methods_are_listed(tenant: Tenant) -> None:
    page = (await tenant.client.get("/v1/indices")).raise_for_status().json()
    assert [each["name"] for each in page["data"]] == list(INDEX_DEFINITIONS)
    (mould,) = (each for each in page["data"] if each["name"] == "mould-index")
    assert mould["citation"]["status"] == "unverified"
    assert (mould["periods"], mould["where"]) == (["weeks", "month", "year"], "indoor")
    assert [each["name"] for each in page["data"] if not each["unasked"]] == [
        *("who-year", "who-o3-peak-season", "who-days-over", "lden-year", "noise-emergence"),
    ]
