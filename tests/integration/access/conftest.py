import pytest

from app.core.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Boxes may register themselves: what leads there has routes too."""
    return settings.model_copy(update={"enrolment": settings.enrolment.model_copy(update={"enabled": True})})
