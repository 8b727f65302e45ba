"""REST for boxes' configurations."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import ConfigDict, Field

from app.platform.db.database import Database
from app.platform.http.contract.dependencies import ReadSessionDep, get_database
from app.platform.http.contract.etags import IfMatchPrecondition, PreconditionDep, ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import StrictRoute
from app.registry import box_configurations, box_repository
from app.registry.box_schemas import DesiredConfig
from app.registry.dependencies import BoxesWriter, SitesReader
from app.registry.models import BoxConfig

router: Final = APIRouter(prefix="/v1/boxes", tags=["Boxes"], route_class=StrictRoute)
DatabaseDependency = Annotated[Database, Depends(get_database)]
_EXAMPLE: Final[dict[str, Any]] = {"interval_s": 60, "leds": False, "noise": {"weighting": "A"}}


class ConfigChange(RequestBody):
    """The desired configuration, whole. Its fields are the box's own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"config": _EXAMPLE}]})

    config: DesiredConfig


class ConfigOut(ResourceModel):
    """What a box should be configured to, and what it says that it is."""

    volatile = frozenset({"published", "reported", "reported_at", "in_force"})

    desired: dict[str, Any] | None = Field(examples=[_EXAMPLE])
    desired_at: datetime | None
    published: bool = Field(description="Whether the broker holds it (retained) for the box")
    reported: dict[str, Any] | None = Field(examples=[_EXAMPLE])
    reported_at: datetime | None
    in_force: bool = Field(description="Whether the box reports what is desired")

    @classmethod
    def of(cls, row: BoxConfig) -> "ConfigOut":
        """The row as it is shown."""
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


@router.get(
    "/{box}/config",
    operation_id="get_box_config",
    summary="What a box is configured to",
    responses=document_problems(401, 403, 404),
)
async def get_box_config(box: str, principal: SitesReader, session: ReadSessionDep) -> ConfigOut:
    """Compare what was desired with what the box last reported."""
    found = await box_repository.get_box(session, box, principal.visible())
    return ConfigOut.of(await box_configurations.read_box_config(session, found.key))


@router.put(
    "/{box}/config",
    operation_id="put_box_config",
    summary="Configure a box",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def put_box_config(
    *,
    box: str,
    body: ConfigChange,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    matching: PreconditionDep,
) -> ConfigOut:
    """Publish a desired configuration, retained, on `vigie/v1/{box}/config`.

    The box answers on `…/config/reported`. Where the broker is away the configuration is stored all the same
    (`published` is false), and published as soon as it is back.
    """
    return await _change(request, database, principal, box, body.config, matching=matching)


@router.delete(
    "/{box}/config",
    operation_id="delete_box_config",
    summary="Configure a box no more",
    responses=document_problems(401, 403, 404),
)
async def delete_box_config(
    box: str,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    matching: PreconditionDep,
) -> ConfigOut:
    """Take back the desired configuration, and remove the retained message."""
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
    await box_configurations.publish_due_configs(database, request.app.state.settings.broker)
    async with database.read() as reader:
        return ConfigOut.of(await box_configurations.read_box_config(reader, found.key))
