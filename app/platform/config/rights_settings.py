"""Settings of the requests by which people use their rights."""

from pydantic import BaseModel, Field


class RightsSettings(BaseModel):
    """Requests for access, objections and the like."""

    keep_days: int = Field(
        365, ge=1, description="For how long a request is kept after it was answered or withdrawn (days)"
    )
    per_address: int = Field(5, ge=1, description="Requests that one address may make in an hour")
    per_organisation: int = Field(
        200, ge=1, description="Requests that one organisation takes in an hour, whoever makes them"
    )
    looks: int = Field(60, ge=1, description="Times that one address may look at requests in an hour")
