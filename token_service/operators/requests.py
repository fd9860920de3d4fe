"""What an operator's request may hold. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MAX_BLOCK_SECONDS: Final = 366 * 24 * 3_600
SESSION_ID: Final = re.compile(r"sess_[0-9a-f]{24}")
TOKEN_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
PSEUDONYM: Final = re.compile(r"[0-9a-f]{32}")


class BlockRequest(BaseModel):
    """The body of a block: for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seconds: Annotated[int, Field(ge=1, le=MAX_BLOCK_SECONDS)]
