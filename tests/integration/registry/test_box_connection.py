"""Where boxes connect, over REST."""

from fastapi import FastAPI

from app.platform.config.api_settings import ApiSettings
from app.platform.config.platform_settings import BrokerSettings
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant, client_of


async def test_any_caller_reads_where_boxes_connect(application: FastAPI, tenant: Tenant) -> None:
    answer = await tenant.client.get("/v1/connection")
    broker = get_resource(application, BrokerSettings)
    assert answer.json() == {
        "mqtt": {"host": broker.host, "port": broker.port, "tls": False, "authentication": "password"},
        "http": {"url": get_resource(application, ApiSettings).base_url},
    }
    async with client_of(application, "") as anybody:
        assert (await anybody.get("/v1/connection")).status_code == 401
