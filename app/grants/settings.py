"""Defines the settings of grants."""

from pydantic import BaseModel, Field


class GrantSettings(BaseModel):
    """Grants, by which third parties read measurements."""

    link_days: int = Field(30, ge=1, le=365, description="How long the link of a new grant works (days)")
    contact_days: int = Field(
        365,
        ge=1,
        description="Retention of the contact, and of the names and addresses in acceptances, after a grant "
        "ended (days)",
    )
    uses_days: int = Field(365, ge=31, description="Retention of the hourly records of use (days)")
