"""Both sizes of each fault, the fleet of each test, and the table of what came of them."""

from pathlib import Path

import pytest

from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.faults.fleet import FaultFleet
from tests.faults.harness import FaultReport, FaultSize

_REPORT = pytest.StashKey[FaultReport]()
_LONG_TIMEOUT_S = 600
SIZES = (
    pytest.param(FaultSize(long=False), id="short"),
    pytest.param(
        FaultSize(long=True), id="long", marks=[pytest.mark.slow, pytest.mark.timeout(_LONG_TIMEOUT_S)]
    ),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", SIZES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(_REPORT, None)
    if report is not None:
        terminalreporter.section("faults")
        for line in report.lines():
            terminalreporter.write_line(line)


@pytest.fixture
def report(pytestconfig: pytest.Config, size: FaultSize) -> FaultReport:
    """Where a fault's outcome goes; the short form's is checked, and not shown."""
    if not size.long:
        return FaultReport()
    return pytestconfig.stash.setdefault(_REPORT, FaultReport())


@pytest.fixture
async def fleet(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, settings: VigieSettings, tmp_path: Path
) -> FaultFleet:
    boxes = [f"box-{number:02}" for number in range(20)]
    made = FaultFleet(tenant.client, mosquitto, settings.database.url, boxes, tmp_path / "ledger")
    await made.register(site_id)
    return made
