import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMES = "from migrations.tables import load_metadata; print(*load_metadata().tables)"


def _declared(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Assign(targets=[ast.Name(id="__tablename__")], value=ast.Constant(value=str(name))):
                found.add(name)
            case ast.Call(func=ast.Name(id="Table"), args=[ast.Constant(value=str(name)), base, *_]) if (
                ast.unparse(base) == "Base.metadata"
            ):
                found.add(name)
    return found


def test_alembic_sees_every_table_that_the_program_declares() -> None:
    declared = set().union(*map(_declared, (ROOT / "app").rglob("*.py")))
    # A process of its own: here other tests have imported most of the program.
    seen = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    assert len(declared) > 40
    assert set(seen.stdout.split()) == declared
