"""Ids that are not in the format of the service."""

from __future__ import annotations

STRANGE_IDS = ["%00", "a%00b", "%ff", "ü", "x" * 300, "a%20b", "..%2fx", "'", "run_1;"]
