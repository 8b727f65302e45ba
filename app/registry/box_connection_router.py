"""Serves the addresses at which boxes reach this installation: the broker for MQTT, and the API for HTTP."""

from ipaddress import ip_address
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from app.platform.config.platform_settings import BrokerSettings
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import current_principal
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.runtime.stored_settings import InstallationDependency
from app.registry.dependencies import BrokerDependency

router: Final = APIRouter(
    prefix="/v1/connection",
    tags=["Boxes"],
    route_class=StrictRoute,
    dependencies=[Depends(current_principal)],
)
type BoxAuthentication = Literal["password", "certificate", "identity"]


class BoxListener(NamedTuple):
    """The TLS listener for boxes that `vigie up` opens.

    Attributes:
        port: Its port; 0: there is none.
        host: The address that it listens on.
        authentication: How boxes authenticate there.
    """

    port: int
    host: str
    authentication: BoxAuthentication


class MqttAddress(BaseModel):
    """The broker as boxes reach it."""

    host: str
    port: int
    tls: bool = Field(description="Whether boxes must use TLS")
    authentication: BoxAuthentication = Field(
        description="`password`; `certificate`: a client certificate and the password; `identity`: a client "
        "certificate alone, with the box's id as its common name"
    )


class HttpAddress(BaseModel):
    """The REST API as boxes reach it."""

    url: str = Field(description="Base of `/v1/telemetry`, without a trailing slash")


class ConnectionOut(BaseModel):
    """The addresses at which boxes reach this installation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "mqtt": {
                        "host": "vigie.example.com",
                        "port": 8883,
                        "tls": True,
                        "authentication": "password",
                    },
                    "http": {"url": "https://vigie.example.com"},
                }
            ]
        }
    )

    mqtt: MqttAddress
    http: HttpAddress


def resolve_mqtt_address(broker: BrokerSettings, listener: BoxListener, public_url: str) -> MqttAddress:
    """Find the broker's address for boxes: as set, else that of the TLS listener, else Vigie's own.

    Args:
        broker: The settings of the broker.
        listener: The TLS listener of `vigie up`.
        public_url: Where clients reach the API; empty where it is not set.
    """
    host, port, tls = broker.host, broker.port, broker.tls.enabled
    authentication: BoxAuthentication = "password"
    if listener.port:
        port, tls, authentication = listener.port, True, listener.authentication
        host = listener.host
        if _is_wildcard(host):
            # It listens everywhere: boxes reach it under the name of the machine.
            host = urlsplit(public_url).hostname or broker.host
    return MqttAddress(
        host=broker.public_host or host,
        port=broker.public_port or port,
        tls=tls if broker.public_tls is None else broker.public_tls,
        authentication=authentication,
    )


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


@router.get("", summary="Read where boxes connect")
async def get_connection(
    broker: BrokerDependency,
    listener: Annotated[BoxListener, Depends(make_resource_dependency(BoxListener))],
    installation: InstallationDependency,
) -> ConnectionOut:
    """Read the address of the broker for MQTT, and that of the API for HTTP."""
    return ConnectionOut(
        mqtt=resolve_mqtt_address(broker, listener, installation.public_url),
        http=HttpAddress(url=installation.base_url),
    )
