"""An incident for tests of other rooms: put where the worker would put it, without an event of any box."""

from uuid import UUID

from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id

_INSERT = text("""
INSERT INTO incidents (id, organisation_id, site_id, evidence, verified, occurred_at, first_heard_at,
    last_heard_at, longitude, latitude, ellipse, classes, models, probability, gunshot_probability, rounds,
    boxes, temperature, method, detected_at, updated_at)
SELECT :id, organisation_id, id, 'position', true, :at, :at, :at, :longitude, :latitude,
    '{"semi_major_m": 6.4, "semi_minor_m": 3.1, "orientation_deg": 41.0, "level": 0.95}',
    '[{"class": "pistol", "probability": 0.9}]', '[]', :probability, :probability, 1, CAST(:boxes AS text[]),
    '{"celsius": 15, "sigma_celsius": 8, "source": "default", "boxes": 0}', '[]', :at, :at
FROM sites WHERE id = :site
""")


async def put_incident(database: Database, site: str | UUID, **given: object) -> str:
    """Put an open incident with a position there; returns its id.

    Args:
        database: the owner's.
        site: where.
        given: `at`, `longitude`, `latitude`, `probability`, `boxes`, where they are to be other than usual.
    """
    identifier = new_id()
    usual: dict[str, object] = {
        "longitude": 1.4449,
        "latitude": 43.6047,
        "probability": 0.9,
        "boxes": ["box-0001"],
    }
    values = {**usual, **given, "id": identifier, "site": UUID(str(site))}
    async with database.write() as session:
        values.setdefault("at", (await session.execute(text("SELECT now()"))).scalar_one())
        await session.execute(_INSERT, values)
    return str(identifier)
