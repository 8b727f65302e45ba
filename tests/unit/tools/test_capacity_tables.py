"""The size of a machine, from the page of the benchmark."""

import pytest

from tools.capacity_tables import (
    BenchFigures,
    compute_cores,
    compute_disk,
    compute_memory,
    load_figures,
    read_figures,
)

PAGE = """
| (e) **Vigie ingest**, 20 rules on each site | 120,286 | 4.7 | 2.9 | 7.1 | 1 MiB | 1 MiB | 1 | 0 | 0 | 15.2 |
| 10,000 boxes, 200 rules (20 a site) | 87,785 | 7.3 | 3.6 | 0 |
| nothing else | 104,140 | 5.6 | 155 MiB | 0 |
| half of a site's boxes | 52,842 | 15.3 | 159 MiB | 0 |
10,000 boxes, each with its own account and its own connection
| Mosquitto, without boxes | 12 MiB |
| Mosquitto, with all of them | 31 MiB |
| api | 256 MiB |
| ingest | 144 MiB |
| deliver | 113 MiB |
| maintain | 175 MiB |
Roll-ups of all samples took 301 s (33,045 samples/s), of a tenth 25 s.
"""
FIGURES = BenchFigures(10, 5, 5, 30, 1_000, 15, 1 << 30, 0, 1024)


def test_figures_of_a_page() -> None:
    figures = read_figures(PAGE)
    assert figures.ingest_us == pytest.approx(17.0)
    assert (figures.postgres_us, figures.broker_us, figures.rate) == (3.6, 7.1, 87_785)
    assert figures.rollup_us == pytest.approx(30.26, abs=0.01)
    assert figures.disk_bytes == 15.2
    assert figures.roles_bytes == 688 * 2**20
    assert figures.box_bytes == pytest.approx(1992.3, abs=0.1)


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if line])
def test_a_missing_row_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"adapt tools/capacity_tables\.py"):
        read_figures(PAGE.replace(f"{line}\n", ""))


def test_the_present_page_has_all_figures() -> None:
    figures = load_figures()
    assert 1 < figures.message_us < 1_000
    assert 5 < figures.disk_bytes < 100


def test_the_formulae_of_the_guide() -> None:
    # 1,000 messages a second of 50 µs, twice, and half a core.
    assert compute_cores(FIGURES, 10_000, 10) == pytest.approx(0.6)
    # 1 GiB of roles, 10 MiB of boxes and 2 GiB, in seven eighths.
    assert compute_memory(FIGURES, 10_240) == pytest.approx((3 * 2**30 + 10 * 2**20) / 0.875)
    # A sample a day: ten readings of 15 bytes, and ten roll-ups, on thirty days.
    assert compute_disk(FIGURES, 1, 86_400) == 10 * 30 * (15 + 1_640)
