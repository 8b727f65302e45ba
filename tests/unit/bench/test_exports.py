"""The table of exports: of each case the run with the median ratio, and the most memory of all its runs."""

from bench.exports import ExportCase, ExportResults, ExportRun

_MIB = 2**20


def run(seconds: float, reference_s: float, grown: int) -> ExportRun:
    return ExportRun(
        case=ExportCase("csv"),
        samples=1000,
        size=10 * _MIB,
        seconds=seconds,
        first_s=0.1,
        before=100 * _MIB,
        peak=(100 + grown) * _MIB,
        child=0,
        cpu={"api": 1.0, "postgres": 2.0},
        others_ms=[seconds],
        reference_s=reference_s,
    )


def test_a_case_is_shown_by_its_median_run_and_the_most_that_it_took() -> None:
    # Ratios of 0.5, 1 and 2; neither the first run nor the fastest one has the median.
    runs = [run(4.0, 2.0, 1), run(1.0, 2.0, 2), run(3.0, 3.0, 30)]
    found = ExportResults(fresh=0, quiet_ms=[1.0], quiet_cpu={"api": 0.1, "postgres": 0.0}, made=runs)
    (row,) = found.rows()
    assert row[:6] == ["csv", "10 MiB", "3.00 s", "333", "3.00 s", "**1.00**"]
    assert row[8] == "+30.0 MiB"
    # Without the CPU time that others' reads take of it: 1 s less 0.3 s, of a thousand samples.
    assert row[10] == "700.0"
    assert row[12] == "3.0"
