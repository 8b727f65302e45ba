"""Defines the settings of privacy requests (GDPR): retention, and limits per IP address and organisation."""

from pydantic import BaseModel, Field


class RightsSettings(BaseModel):
    """Requests for access, objections and the like."""

    keep_days: int = Field(
        365, ge=1, description="Retention of a request after it was answered or withdrawn (days)"
    )
    per_address: int = Field(5, ge=1, description="Requests that one address may make in an hour")
    per_organisation: int = Field(
        200, ge=1, description="Requests to one organisation in an hour, from all addresses"
    )
    looks: int = Field(60, ge=1, description="Times that one address may view requests in an hour")
