"""The numbers of advisory locks."""

from pathlib import Path

from app.platform.db import advisory_lock_keys


def test_no_number_has_two_purposes_and_the_migration_knows_the_gates() -> None:
    numbers = [value for name, value in vars(advisory_lock_keys).items() if name.isupper()]
    assert len(numbers) == len(set(numbers)) == 9
    migration = Path(__file__).parents[4] / "migrations" / "versions" / "0002_box_lives.py"
    assert f"pg_advisory_xact_lock({advisory_lock_keys.INGEST_BARRIER})" in migration.read_text(
        encoding="utf-8"
    )
