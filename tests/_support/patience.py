"""The time that a test waits for a condition before it reports a hang."""

from __future__ import annotations

import os

# Wide enough for a machine many times slower than usual: no test that passes waits this long.
PATIENCE_S = float(os.environ.get("TEST_PATIENCE_S") or 120)
