"""The platform's own organisation, and the first administrator's key."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.platform.db.database import WriteSession
from app.platform.identity.principals import ALL_SCOPES, ApiKey
from app.platform.kernel.api_keys import hash_key, make_key_hint
from app.platform.kernel.ids import new_id
from app.registry.models import Organisation


async def bootstrap_platform(session: WriteSession, key: str | None, now: datetime) -> None:
    """Make the platform's organisation where there is none, and let `key` be its administrator's.

    May run in several processes at once. A key that was set before and revoked stays revoked. Where all is
    there, as at each start but the first, nothing is written.
    """
    the_platforms = select(Organisation.id).where(Organisation.platform)
    platform_id = await session.scalar(the_platforms)
    if platform_id is None:
        await session.execute(
            insert(Organisation)
            .values(
                id=new_id(), name="Platform", platform=True, kind="platform", created_at=now, updated_at=now
            )
            .on_conflict_do_nothing()
        )
        platform_id = (await session.scalars(the_platforms)).one()
    if (
        key is not None
        and await session.scalar(select(ApiKey.id).where(ApiKey.hash == hash_key(key))) is None
    ):
        await session.execute(
            insert(ApiKey)
            .values(
                id=new_id(),
                organisation_id=platform_id,
                name="bootstrap",
                hint=make_key_hint(key),
                hash=hash_key(key),
                scopes=[ALL_SCOPES],
                platform=True,
                created_at=now,
            )
            .on_conflict_do_nothing()
        )
