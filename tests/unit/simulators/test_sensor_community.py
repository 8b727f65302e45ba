"""The archive's format, and what is in the real files."""

import gzip
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.catalogue.metrics import METRICS_BY_NAME
from simulators.cli import SHIPPED_ARCHIVE
from simulators.sensor_community import (
    convert_unit,
    load_archive,
    move_to_day,
    parse_archive_time,
    select_period,
    shift_times,
)

DUST = "sensor_id;sensor_type;location;lat;lon;timestamp;P1;durP1;ratioP1;P2;durP2;ratioP2\n"
CLIMATE = (
    "sensor_id;sensor_type;location;lat;lon;timestamp;pressure;altitude;pressure_sealevel;temperature;"
    "humidity\n"
)


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def test_both_sensors_of_a_station_make_one_sample_per_second(tmp_path: Path) -> None:
    write(
        tmp_path, "a_sds011_sensor_1.csv", DUST + "1;SDS011;77;57.1;-2.1;2019-03-10T00:00:24;4.67;;;1.45;;\n"
    )
    write(
        tmp_path,
        "b_bme280_sensor_2.csv",
        CLIMATE
        + "2;BME280;77;57.1;-2.1;2019-03-10T00:00:24;100237.32;;;3.06;67.37\n"
        + "2;BME280;77;57.1;-2.1;2019-03-10T00:00:25;100237.32;;;3.06;67.37\n",
    )
    (station,), found = load_archive(tmp_path)
    assert station.location == "77"
    assert station.sensors == ["SDS011 1", "BME280 2"]
    assert (station.longitude, station.latitude) == (-2.1, 57.1)
    first, second = station.samples
    assert first.values == {
        "pm10": 4.67,
        "pm2_5": 1.45,
        "pressure": 1002.3732,
        "temperature": 3.06,
        "humidity": 67.37,
    }
    assert second.time_us - first.time_us == 1_000_000
    assert (first.seq, second.seq) == (0, 1)
    assert (found.rows, found.values, found.joined_rows) == (3, 8, 1)


def test_the_first_of_two_values_for_one_second_stays(tmp_path: Path) -> None:
    row = "1;SDS011;77;57.1;-2.1;2019-03-10T00:00:24;{};;;1.45;;\n"
    write(tmp_path, "a.csv", DUST + row.format(4.67) + row.format(9.99) + row.format(4.67))
    (station,), found = load_archive(tmp_path)
    (sample,) = station.samples
    assert sample.values == {"pm10": 4.67, "pm2_5": 1.45}
    assert (found.repeated_equal, found.repeated_different, found.values) == (4 - 1, 1, 2)


def test_empty_and_unreadable_fields_are_counted_not_sent(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.csv",
        DUST
        + "1;SDS011;77;57.1;-2.1;2019-03-10T00:00:24;;;;1.45;;\n"
        + "1;SDS011;77;57.1;-2.1;2019-03-10T00:00:25;nan;;;unknown;;\n"
        + "1;SDS011;77;57.1;-2.1;yesterday;1;;;2;;\n",
    )
    (station,), found = load_archive(tmp_path)
    assert [sample.values for sample in station.samples] == [{"pm2_5": 1.45}]
    assert (found.empty_fields, found.unreadable) == (1, 3)
    assert found.problems[0].startswith("a.csv:3: P1")


def test_other_files_are_left_alone_and_compressed_ones_read(tmp_path: Path) -> None:
    write(tmp_path, "data-esp8266-1.csv", "Time;SDS_P1\n2019/03/11 00:00:58;0.30\n")
    with gzip.open(tmp_path / "b.csv.gz", "wt", encoding="utf-8") as file:
        file.write(DUST + "1;SDS011;77;57.1;-2.1;2019-03-10T00:00:24;1;;;2;;\n")
    stations, found = load_archive(tmp_path)
    assert len(stations) == 1
    assert (found.files, found.other_files) == (1, 1)


def test_a_folder_without_archive_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Sensor"):
        load_archive(tmp_path)


@pytest.mark.parametrize(
    ("metric", "text", "value"),
    [("pressure", "100237.32", 1002.3732), ("pressure", "96543.95", 965.4395), ("pm10", "0.30", 0.3)],
)
def test_numbers_keep_every_digit(metric: str, text: str, value: float) -> None:
    assert convert_unit(metric, text) == value


def test_times_are_utc_also_without_a_zone() -> None:
    assert parse_archive_time("2019-03-10T00:01:49") == 1_552_176_109_000_000
    assert parse_archive_time("2019-03-10T01:01:49+01:00") == 1_552_176_109_000_000


def test_what_is_shipped_is_a_day_of_nineteen_stations_within_the_catalogues_bounds() -> None:
    stations, found = load_archive(SHIPPED_ARCHIVE)
    assert len(stations) == 19
    assert sum("SDS011" in sensor for station in stations for sensor in station.sensors) == 18
    assert (found.files, found.unreadable, found.repeated_different) == (36, 0, 0)
    assert sum(len(sample.values) for station in stations for sample in station.samples) == found.values
    for station in stations:
        times = [sample.time_us for sample in station.samples]
        assert times == sorted(set(times))
        for sample in station.samples:
            for metric, value in sample.values.items():
                assert METRICS_BY_NAME[metric].minimum <= value <= METRICS_BY_NAME[metric].maximum


def test_a_span_of_time_and_a_shift() -> None:
    stations, _ = load_archive(SHIPPED_ARCHIVE)
    first, end = parse_archive_time("2019-03-10T10:00:00"), parse_archive_time("2019-03-10T11:00:00")
    hour = select_period(stations, first, end)
    assert hour
    assert all(first <= sample.time_us < end for station in hour for sample in station.samples)
    moved = shift_times(hour, 5_000_000)
    assert moved[0].samples[0].time_us == hour[0].samples[0].time_us + 5_000_000
    assert moved[0].samples[0].values == hour[0].samples[0].values
    assert select_period(stations, end, first) == []


LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2026, 11, 27), 24),
        (date(2026, 7, 1), 24),
        (date(2026, 3, 29), 23),
        (date(2026, 10, 25), 25),
        (date(2028, 2, 29), 24),
        (date(2027, 1, 1), 24),
    ],
)
def test_a_recorded_day_becomes_another_local_day(day: date, hours: int) -> None:
    stations, _ = load_archive(SHIPPED_ARCHIVE)
    moved = move_to_day(stations, day, LONDON)
    seen = set()
    for before, after in zip(stations, moved, strict=True):
        times = [sample.time_us for sample in after.samples]
        assert times == sorted(set(times))
        assert [sample.seq for sample in after.samples] == [time // 1_000_000 for time in times]
        by_time_of_day = {
            datetime.fromtimestamp(sample.time_us / 1e6, LONDON).time(): sample.values
            for sample in before.samples
        }
        for sample in after.samples:
            local = datetime.fromtimestamp(sample.time_us / 1e6, LONDON)
            assert local.date() == day
            assert by_time_of_day[local.time()] == sample.values
        seen |= {time // 3_600_000_000 for time in times}
    assert len(seen) == hours


def test_a_recording_of_several_days_begins_with_the_day_that_is_named(tmp_path: Path) -> None:
    row = "1;SDS011;77;57.1;-2.1;{};4.67;;;1.45;;\n"
    times = ("2019-07-10T23:30:00", "2019-07-11T23:30:00")
    write(tmp_path, "a_sds011_sensor_1.csv", DUST + "".join(row.format(time) for time in times))
    stations, _ = load_archive(tmp_path)
    # Half past midnight of the 11th and 12th in London.
    (station,) = move_to_day(stations, date(2026, 11, 27), LONDON)
    assert [sample.time_us for sample in station.samples] == [
        parse_archive_time("2026-11-27T00:30:00"),
        parse_archive_time("2026-11-28T00:30:00"),
    ]
    assert move_to_day([], date(2026, 11, 27), LONDON) == []
