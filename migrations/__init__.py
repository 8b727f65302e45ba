"""Alembic migrations, the only code that changes the schema."""
