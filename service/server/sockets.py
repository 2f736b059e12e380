"""Opens the listening socket, with options of its own; several workers can share it."""

from __future__ import annotations

import contextlib
import resource
import socket

_BACKLOG = 2_048
# A peer that is lost without a FIN is detected after about 10 + 3 * 5 s when idle, and after
# 20 s with unacknowledged data; without these options it was never detected.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_USER_TIMEOUT_MS = 20_000
# Otherwise the kernel buffers up to 4 MB for a stalled client; it doubles this value.
_SEND_BUFFER_BYTES = 131_072


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; accepted connections inherit its options.

    `host` "" means all interfaces, including IPv6 where available; port 0 means a free one.
    Raises OSError.
    """
    if host:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    elif socket.has_dualstack_ipv6():
        sock = socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
        )
    else:
        sock = socket.create_server(("", port), backlog=_BACKLOG)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    return sock


def base_url(sock: socket.socket) -> str:
    """Return a URL at which `sock` can be reached from this machine."""
    host, port = sock.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_open_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: a run has several sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
