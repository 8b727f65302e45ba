import pytest

from app.platform.config.platform_settings import BrokerSettings
from app.registry.box_connection_router import BoxListener, resolve_mqtt_address

NO_LISTENER = BoxListener(0, "0.0.0.0", "password")  # noqa: S104 (the default)
EVERYWHERE = BoxListener(8883, "0.0.0.0", "password")  # noqa: S104 (the default)


def test_without_a_listener_of_its_own_boxes_connect_where_vigie_does() -> None:
    address = resolve_mqtt_address(BrokerSettings(), NO_LISTENER, "https://vigie.example.com")
    assert address.model_dump() == {
        "host": "127.0.0.1",
        "port": 1883,
        "tls": False,
        "authentication": "password",
    }


@pytest.mark.parametrize(
    ("listener", "public_url", "host"),
    [
        (EVERYWHERE, "https://vigie.example.com/x", "vigie.example.com"),
        (EVERYWHERE, "", "127.0.0.1"),
        (EVERYWHERE._replace(host="192.0.2.7"), "https://vigie.example.com", "192.0.2.7"),
        (EVERYWHERE._replace(host="broker.example.com"), "", "broker.example.com"),
    ],
)
def test_the_tls_listener_comes_before(listener: BoxListener, public_url: str, host: str) -> None:
    address = resolve_mqtt_address(BrokerSettings(), listener._replace(authentication="identity"), public_url)
    assert (address.host, address.port, address.tls) == (host, 8883, True)
    assert address.authentication == "identity"


def test_settings_of_the_public_address_come_first() -> None:
    broker = BrokerSettings(public_host="mqtt.example.com", public_port=443, public_tls=False)
    address = resolve_mqtt_address(broker, EVERYWHERE, "https://vigie.example.com")
    assert (address.host, address.port, address.tls) == ("mqtt.example.com", 443, False)
