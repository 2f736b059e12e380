"""The settings of the pages."""

from __future__ import annotations

import re

from pydantic import field_validator
from pydantic_settings import BaseSettings

_TRACE_ID = "{trace_id}"
_URL = re.compile(r"https?://[^\s/?#]+\S*")


class WebPageSettings(BaseSettings):
    """The settings of the pages. `service.settings.Settings` extends it."""

    trace_url: str | None = None

    @field_validator("trace_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not _URL.fullmatch(value):
            raise ValueError("must look like http://localhost:16686/trace/{trace_id}")
        return value

    def find_trace_url(self, trace_id: str) -> str | None:
        """Return the address of a trace; None without TRACE_URL.

        The id replaces `{trace_id}` in TRACE_URL, or follows it.
        """
        if not self.trace_url:
            return None
        template = self.trace_url if _TRACE_ID in self.trace_url else self.trace_url + _TRACE_ID
        return template.replace(_TRACE_ID, trace_id)
