"""Serves the REST endpoints of the desired and reported configuration of a box."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from app.platform.db.database import Database
from app.platform.http.contract.etags import IfMatchPrecondition, PreconditionDep, ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.session_dependencies import DatabaseDependency, ReadSessionDep
from app.platform.http.contract.strict_body import StrictRoute
from app.registry import box_configurations, box_repository
from app.registry.box_schemas import DesiredConfig
from app.registry.dependencies import BoxesWriter, SitesReader, publish_configs
from app.registry.models import BoxConfig

router: Final = APIRouter(prefix="/v1/boxes", tags=["Boxes"], route_class=StrictRoute)
_EXAMPLE: Final[dict[str, Any]] = {"interval_s": 60, "leds": False, "noise": {"weighting": "A"}}


class ConfigChange(RequestBody):
    """The whole desired configuration. The box defines its fields."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"config": _EXAMPLE}]})

    config: DesiredConfig


class ConfigOut(ResourceModel):
    """The desired configuration of a box, and the one that it last reported."""

    volatile = frozenset({"published", "reported", "reported_at", "in_force"})

    desired: dict[str, Any] | None = Field(
        examples=[_EXAMPLE], description="The desired configuration of the box"
    )
    desired_at: datetime | None
    published: bool = Field(description="Whether the broker has it as a retained message for the box")
    reported: dict[str, Any] | None = Field(
        examples=[_EXAMPLE], description="The configuration that the box reports"
    )
    reported_at: datetime | None
    in_force: bool = Field(description="Whether the reported configuration equals the desired one")

    @classmethod
    def of(cls, row: BoxConfig) -> "ConfigOut":
        """Build the response from a row."""
        published = row.desired_at is not None and (
            row.published_at is not None and row.published_at >= row.desired_at
        )
        return cls(
            desired=row.desired,
            desired_at=row.desired_at,
            published=published,
            reported=row.reported,
            reported_at=row.reported_at,
            in_force=row.desired is not None and row.desired == row.reported,
        )


@router.get("/{box}/config", summary="Read a box's configuration")
async def get_box_config(box: str, principal: SitesReader, session: ReadSessionDep) -> ConfigOut:
    """Read the desired configuration, and the one that the box last reported."""
    found = await box_repository.get_box(session, box, principal.visible())
    return ConfigOut.of(await box_configurations.read_box_config(session, found.key))


@router.put("/{box}/config", summary="Configure a box")
async def put_box_config(
    *,
    box: str,
    body: ConfigChange,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    matching: PreconditionDep,
) -> ConfigOut:
    """Set the desired configuration, and publish it as a retained message on `vigie/v1/{box}/config`.

    The box answers on `…/config/reported`. If the broker is unreachable, the configuration is stored
    (`published` is false) and published as soon as the broker is back.
    """
    return await _change(request, database, principal, box, body.config, matching=matching)


@router.delete("/{box}/config", summary="Remove a box's configuration")
async def delete_box_config(
    box: str,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    matching: PreconditionDep,
) -> ConfigOut:
    """Remove the desired configuration and its retained message. The box keeps what it has."""
    return await _change(request, database, principal, box, None, matching=matching)


async def _change(
    request: Request,
    database: Database,
    principal: BoxesWriter,
    box: str,
    desired: dict[str, Any] | None,
    *,
    matching: IfMatchPrecondition,
) -> ConfigOut:
    async with database.write() as session:
        found = await box_repository.get_box(session, box, principal.visible(), lock=True)
        matching.check(ConfigOut.of(await box_configurations.read_box_config(session, found.key)))
        await box_configurations.set_desired_config(session, [found.key], desired, datetime.now(UTC))
    await publish_configs(request, database)
    async with database.read() as reader:
        return ConfigOut.of(await box_configurations.read_box_config(reader, found.key))
