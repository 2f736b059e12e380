"""The limit of requests that start a run, for callers without a rule in the file."""

from __future__ import annotations

from typing import Final

from service.limits.rules import DEFAULT, AppliedRule
from service.limits.subjects import subject_of, subject_of_address, subject_of_key
from service.limits.use import Use
from service.settings import Settings

_PER_SECOND: Final = 1
_BURST: Final = 3


class DefaultLimit:
    """The limit of the settings: a sliding window, a token bucket, or none.

    Callers without an account on this machine have no limit.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_enabled = settings.rate_limit_enabled
        self._requests = settings.rate_limit_requests
        self._window_s = settings.rate_limit_window_s
        self._is_open = not settings.requires_auth

    def find(self, use: Use) -> AppliedRule | None:
        """Return the limit of a request that starts a run, None if it has none.

        RATE_LIMIT_REQUESTS counts keys, users and addresses. Without it, the callers of a service
        without authentication are counted by address.
        """
        principal = use.principal
        if not self._is_enabled or (use.is_local and principal.method == "anonymous"):
            return None
        if self._requests is not None:
            subject = subject_of(principal)
            if principal.key_id:
                subject = subject_of_key(principal.key_id)
            return AppliedRule(
                name=DEFAULT,
                kind="requests",
                subject=subject,
                count=self._requests,
                window_s=self._window_s,
            )
        if not self._is_open:
            return None
        return AppliedRule(
            name=DEFAULT,
            kind="requests",
            subject=subject_of_address(principal),
            count=_PER_SECOND,
            period="second",
            burst=_BURST,
        )
