"""Offers the REST API to ASGI servers: `uvicorn --factory app.main:create_app`."""

from app.processes.api_application import create_app

__all__ = ["create_app"]
