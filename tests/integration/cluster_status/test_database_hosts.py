"""The hosts of a real primary with a real standby."""

import pytest

from app.cluster_status.database_hosts import DatabaseHost, read_database_hosts
from tests.integration.cluster_status.conftest import STANDBY, ReplicatedPostgres
from tests.scenarios.processes import until

_SYNCHRONOUS = f"ALTER SYSTEM SET synchronous_standby_names = '\"{STANDBY}\"'"
_RELOAD = "SELECT pg_reload_conf()"


async def read(replicated: ReplicatedPostgres, login: str | None = None) -> list[DatabaseHost]:
    return await read_database_hosts(replicated.url_of(login), role="vigie_api", timeout_s=5.0)


@pytest.mark.parametrize("login", [None, "vigie_api"])
async def test_roles_and_lags(replicated: ReplicatedPostgres, login: str | None) -> None:
    async def caught_up() -> list[DatabaseHost] | None:
        hosts = await read(replicated, login)
        return hosts if hosts[1].lag_bytes == 0 else None

    primary, standby = await until(caught_up) or []
    assert (primary.role, primary.lag_bytes, primary.is_synchronous) == ("primary", None, None)
    assert (standby.role, standby.lag_s, standby.is_synchronous) == ("standby", 0.0, False)
    assert standby.host == f"127.0.0.1:{replicated.standby_port}"


async def test_a_standby_that_commits_wait_for_is_synchronous(replicated: ReplicatedPostgres) -> None:
    async def synchronous() -> bool:
        return (await read(replicated, "vigie_api"))[1].is_synchronous is True

    await replicated.execute(_SYNCHRONOUS, _RELOAD)
    try:
        assert await until(synchronous)
    finally:
        await replicated.execute("ALTER SYSTEM RESET synchronous_standby_names", _RELOAD)


async def test_an_owner_that_may_not_read_statistics_hides_which_standby_is_synchronous(
    replicated: ReplicatedPostgres,
) -> None:

    async def asynchronous() -> bool:
        return (await read(replicated, "vigie_api"))[1].is_synchronous is False

    await replicated.execute("REVOKE pg_monitor FROM vigie")
    try:
        primary, standby = await read(replicated, "vigie_api")
        assert (primary.role, standby.role, standby.is_synchronous) == ("primary", "standby", None)
        # What `deploy/roles.sql` grants is enough.
        await replicated.execute("GRANT pg_read_all_stats TO vigie")
        assert await until(asynchronous)
    finally:
        await replicated.execute("GRANT pg_monitor TO vigie", "REVOKE pg_read_all_stats FROM vigie")


async def test_the_lag_of_a_standby_that_replays_nothing(replicated: ReplicatedPostgres) -> None:
    standby = replicated.standby_url
    # One that has replayed no transaction since it started does not know how old its data are.
    await replicated.execute("CREATE TABLE few (n integer)", "DROP TABLE few")

    async def has_replayed() -> bool:
        return await replicated.fetch_at(standby, "SELECT pg_last_xact_replay_timestamp()") is not None

    assert await until(has_replayed)
    await replicated.fetch_at(standby, "SELECT pg_wal_replay_pause()")

    async def paused() -> bool:
        state = await replicated.fetch_at(standby, "SELECT pg_get_wal_replay_pause_state()")
        return state == "paused"

    try:
        assert await until(paused)
        await replicated.execute("CREATE TABLE more AS SELECT generate_series(1, 100000)", "DROP TABLE more")
        lagging = (await read(replicated, "vigie_api"))[1]
        assert lagging.lag_bytes is not None
        assert lagging.lag_bytes > 100_000
        assert lagging.lag_s is not None
    finally:
        await replicated.fetch_at(standby, "SELECT pg_wal_replay_resume()")
