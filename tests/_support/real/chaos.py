"""Control of llmock: the failures that its next answers have, and its verdict on the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Chaos:
    """A running llmock; `control` is a client of its control API."""

    url: str
    control: httpx.Client

    def script(self, *behaviors: dict[str, Any]) -> None:
        """Forget earlier requests, and queue behaviours for the next ones.

        Source: the README of llmock, "The faults".
        """
        self.control.post("/reset").raise_for_status()
        if behaviors:
            body = {"behaviors": list(behaviors)}
            self.control.post("/scenario", json=body).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests since the last script, oldest first."""
        listed: Any = self.control.get("/requests").raise_for_status().json()
        return list(listed["requests"] if isinstance(listed, dict) else listed)

    def findings(self) -> list[str]:
        """Return the codes of the mistakes that llmock found in its client's behaviour."""
        verdict = self.control.get("/verdict").raise_for_status().json()
        return [str(each["code"]) for each in verdict["findings"]]
