import re
from pathlib import Path

import pytest

from tools.migration_operations import find_contractions, read_required_program

FOLDER = Path(__file__).parents[3] / "migrations" / "versions"
# The policy binds from the next migration on: schemas before it served only the program of their own version.
BEFORE = "0046"
FILES = {path.name[:4]: path for path in sorted(FOLDER.glob("[0-9]*.py"))}
# Operations that look like a contraction and are none, each with its reason.
_WIDER = (
    "ALTER TABLE measurement_subscriptions DROP CONSTRAINT _, "
    "ADD CONSTRAINT _ CHECK (format IN (_)) NOT VALID"
)
HARMLESS: dict[str, str] = {
    f"drops: {_WIDER}": "the new constraint allows one more format",
    f"tightens: {_WIDER}": "likewise",
    "empties: CREATE TRIGGER audit_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON imported_audit_entries "
    "EXECUTE FUNCTION audit_keep()": "it refuses TRUNCATE, of a table that the same migration makes",
    "takes away a privilege: REVOKE EXECUTE ON FUNCTION replication_status() FROM PUBLIC": "it is new",
    "takes away a privilege: REVOKE EXECUTE ON FUNCTION edges_record_removal() FROM PUBLIC": "likewise",
}


def migration(body: str, constants: str = "") -> str:
    return f"from alembic import op\n{constants}\ndef upgrade() -> None:\n{body}\n"


@pytest.mark.parametrize("revision", [name for name in FILES if name > BEFORE])
def test_a_migration_only_expands_or_says_which_program_it_needs(revision: str) -> None:
    source = FILES[revision].read_text(encoding="utf-8")
    found = [each for each in find_contractions(source) if each not in HARMLESS]
    required = read_required_program(source)
    if required is None:
        advice = "expand now and contract in the next release, or: see migrations/compatibility.py"
        assert not found, advice
    else:
        assert required in FILES
        assert BEFORE <= required < revision
        assert found, "it takes nothing away: older programs can run on it"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE boxes",
        "ALTER TABLE boxes DROP COLUMN name",
        "ALTER TABLE boxes ADD COLUMN a text, DROP COLUMN name",
        "DROP INDEX ix_boxes",
        "ALTER TABLE boxes RENAME COLUMN name TO label",
        "ALTER TABLE boxes RENAME TO devices",
        "ALTER TABLE boxes ALTER COLUMN name TYPE varchar(10)",
        "ALTER TABLE boxes ALTER COLUMN name SET DATA TYPE varchar(10)",
        "ALTER TABLE boxes ALTER COLUMN name SET NOT NULL",
        "ALTER TABLE boxes ALTER COLUMN name DROP DEFAULT",
        "ALTER TABLE boxes ADD COLUMN label text NOT NULL",
        "ALTER TABLE boxes ADD COLUMN a int DEFAULT 0, ADD COLUMN label text NOT NULL",
        "ALTER TABLE boxes ADD CONSTRAINT ck_boxes CHECK (name <> '')",
        "CREATE UNIQUE INDEX ux_boxes ON boxes (name)",
        "REVOKE SELECT (name) ON boxes FROM vigie_api",
        "TRUNCATE boxes",
        "CREATE TABLE a (b int); drop view registry_boxes",
    ],
)
def test_finds_what_the_previous_version_may_not_survive(statement: str) -> None:
    assert find_contractions(migration(f"    op.execute({statement!r})"))
    assert find_contractions(migration("    op.execute(_SQL)", f"_SQL = ({statement!r},)"))
    assert find_contractions(
        migration("    _more()", f"def _more() -> None:\n    op.execute(f{statement!r})\n")
    )


def test_finds_operations_of_alembic() -> None:
    assert find_contractions(migration("    op.drop_column('boxes', 'name')")) == ["op.drop_column"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE boxes (id text NOT NULL)",
        "ALTER TABLE boxes ADD COLUMN label text",
        "ALTER TABLE boxes ADD COLUMN label text NOT NULL DEFAULT ''",
        "ALTER TABLE boxes ADD COLUMN n int GENERATED ALWAYS AS (1) STORED NOT NULL",
        "CREATE INDEX ix_boxes ON boxes (name)",
        "CREATE TABLE a (b int); ALTER TABLE a ADD CONSTRAINT c UNIQUE (b); CREATE UNIQUE INDEX u ON a (b)",
        "GRANT SELECT ON boxes TO vigie_api",
        "REVOKE ALL ON FUNCTION mark() FROM PUBLIC",
    ],
)
def test_lets_expansions_pass(statement: str) -> None:
    parts = "".join(f"    op.execute({part!r})\n" for part in statement.split(";"))
    assert find_contractions(migration(parts)) == []
    assert find_contractions(migration("    op.execute(_SQL)", f"_SQL = {statement!r}")) == []


def test_ignores_what_only_the_downgrade_does() -> None:
    down = 'def downgrade() -> None:\n    op.execute("DROP TABLE boxes")\n'
    assert find_contractions(migration('    """Drop table is only text here."""', down)) == []


@pytest.mark.parametrize(
    ("body", "constants", "required"),
    [
        ('    require_program("0048")', "", "0048"),
        ("    require_program(OLDEST_PROGRAM)", 'OLDEST_PROGRAM: Final = "0047"', "0047"),
        ("    pass", 'OLDEST_PROGRAM = "0047"', None),
    ],
)
def test_reads_the_required_program(body: str, constants: str, required: str | None) -> None:
    assert read_required_program(migration(body, constants)) == required


def test_each_migration_has_a_larger_number_than_those_before_it() -> None:
    # Programs compare revisions as texts to tell which one is newer.
    assert all(re.fullmatch(r"\d{4}", name) for name in FILES)
    former = dict.fromkeys(FILES, "")
    for name, path in FILES.items():
        before = re.search(r'^down_revision = "(\d{4})"', path.read_text(encoding="utf-8"), re.MULTILINE)
        former[name] = before[1] if before else ""
    assert [former[name] for name in FILES] == ["", *list(FILES)[:-1]]
