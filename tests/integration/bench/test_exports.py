"""The benchmark of exports, on a few thousand samples instead of a million."""

import pytest

from bench import exports
from bench.exports import CASES, measure
from bench.sections import EXPORTS, exports_section
from bench.stack import stack

pytestmark = pytest.mark.usefixtures("shared_services")


async def test_all_samples_leave_as_each_format(monkeypatch: pytest.MonkeyPatch) -> None:
    # Figures need quiet and repetition; what is measured, and that all of it is there, does not.
    monkeypatch.setattr(exports, "_QUIET_S", 0.2)
    monkeypatch.setattr(exports, "_SETTLE_S", 0.05)
    monkeypatch.setattr(exports, "_TURNS", 1)
    async with stack() as running:
        found = await measure(running, samples=20_000)
    assert [each.case for each in found.made] == [*CASES]
    assert found.quiet_ms
    for each in found.made:
        assert each.size > 20_000
        assert (each.reference_s is None) == (each.case.bucket is not None)
        assert each.seconds > each.first_s > 0
        assert each.peak >= each.before > 0
        assert (each.child > 0) == (each.case.format in exports.COLUMNAR)
        assert each.others_ms
    section = exports_section(found, "a day: a machine")
    assert section.startswith(f"## {EXPORTS}\n")
    assert all(section.count(f"| {case.name} |") == 1 for case in CASES)
