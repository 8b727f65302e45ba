"""Types that settings of several kinds share."""

from typing import Annotated

from pydantic import Field

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
