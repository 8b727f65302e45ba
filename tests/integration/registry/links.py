"""How the tests of this room connect to the broker as a box."""

import aiomqtt

from app.standalone.private_mosquitto import PrivateMosquitto


def link(broker: PrivateMosquitto, username: str, password: str) -> aiomqtt.Client:
    """A client under a box's credentials, to be entered."""
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=username,
        password=password,
        identifier=f"test-{username}",
        timeout=20,
    )


async def can_connect(broker: PrivateMosquitto, username: str, password: str) -> bool:
    """Whether the broker lets somebody in."""
    try:
        async with link(broker, username, password):
            return True
    except aiomqtt.MqttError:
        return False
