"""Each shell block of the guides is run by a test, or says why not."""

import subprocess

import pytest

from tests.guide_commands import ROOT, CommandBlock, list_commands
from tools.default_settings import default_settings
from tools.docs_tables import PREFIX, flatten_settings

COMMANDS = list_commands()
# They have no class of settings: the supervisor and the roles read them themselves.
KNOWN = {
    "VIGIE_METRICS_PORT",
    "VIGIE_COMMIT",
    "VIGIE_WITHOUT_GUIDES",
    "VIGIE_FAULT_SECONDS",
    "VIGIE_FAULT_RATE",
}


def test_every_block_is_run_or_says_why_not() -> None:
    assert len(COMMANDS) > 100
    silent = [each.name for each in COMMANDS if not (each.mark or each.is_settings or each.calls_the_api)]
    assert silent == [], "put <!-- run by: tests/… --> or <!-- not run: REASON --> before these blocks"


@pytest.mark.parametrize(
    "block", [each for each in COMMANDS if each.mark == "run by"], ids=lambda each: each.name
)
def test_a_test_that_runs_a_block_exists(block: CommandBlock) -> None:
    paths = [ROOT / path for path in block.why.split(", ")]
    assert [path.name for path in paths if not path.is_file()] == []


@pytest.mark.parametrize("block", [each for each in COMMANDS if each.settings], ids=lambda each: each.name)
def test_a_block_of_settings_names_settings(block: CommandBlock) -> None:
    known = {variable.strip("`") for variable, _, _ in flatten_settings(default_settings(), PREFIX)}
    assert set(block.settings) - known - KNOWN == set()


@pytest.mark.parametrize("block", COMMANDS, ids=lambda each: each.name)
def test_a_block_is_valid_shell(block: CommandBlock) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (0, "")
