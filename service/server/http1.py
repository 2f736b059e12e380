"""Hypercorn's HTTP/1.1 without the upgrade to h2c, for which it has no setting.

A request with `Upgrade: h2c` was answered with 101 and every further one as HTTP/2, past a proxy in
front that had checked only the first. Without the upgrade the request is answered in HTTP/1.1, as
RFC 9110, 7.8 permits. HTTP/2 with prior knowledge and WebSockets are not affected.
"""

from __future__ import annotations

import h11
from hypercorn import protocol
from hypercorn.protocol.h11 import H11Protocol


def patch_http1() -> None:
    """Make Hypercorn use the protocol of this module."""
    setattr(protocol, H11Protocol.__name__, _Http1)


class _Http1(H11Protocol):
    async def _check_protocol(self, event: h11.Request) -> None:
        if not any(name.lower() == b"upgrade" for name, _ in event.headers):
            await super()._check_protocol(event)
