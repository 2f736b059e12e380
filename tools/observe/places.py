"""Where each program of the stack listens, and where it finds the others and the service.

All on the loopback interface. The defaults are the ports that everybody knows them by; another is
chosen with OBSERVE_<NAME>, such as OBSERVE_PROMETHEUS_PORT=9091 or OBSERVE_APP=127.0.0.1:8081.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

HOST = "127.0.0.1"
_PREFIX = "OBSERVE_"


class BadPlace(Exception):
    """A port that cannot be used, and what to do about it."""


@dataclass(frozen=True)
class Places:
    """Ports on 127.0.0.1, and the service's own host:port."""

    collector_grpc_port: int = 4317
    collector_http_port: int = 4318
    collector_health_port: int = 13133
    collector_metrics_port: int = 8888
    span_metrics_port: int = 8889
    jaeger_port: int = 16686
    jaeger_grpc_port: int = 16685
    jaeger_otlp_port: int = 14317
    jaeger_health_port: int = 14133
    prometheus_port: int = 9090
    app: str = f"{HOST}:8080"

    @property
    def collector(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be."""
        return f"http://{HOST}:{self.collector_http_port}"

    @property
    def jaeger(self) -> str:
        return f"http://{HOST}:{self.jaeger_port}"

    @property
    def prometheus(self) -> str:
        return f"http://{HOST}:{self.prometheus_port}"

    def ports(self) -> Iterator[tuple[str, int]]:
        """Yield the variable and the number of every port."""
        for name, value in vars(self).items():
            if isinstance(value, int):
                yield _variable(name), value

    def require_free(self) -> None:
        """Raise BadPlace when a port is taken, or wanted twice."""
        seen: dict[int, str] = {}
        for variable, port in self.ports():
            if port in seen:
                raise BadPlace(f"{variable} and {seen[port]} are both {port}; give one another.")
            seen[port] = variable
            if not _is_free(port):
                raise BadPlace(
                    f"Port {port} is in use by another program; end that one, or set"
                    f" {variable} to a free port."
                )


def from_environment(environ: Mapping[str, str]) -> Places:
    """Return the places, moved as the environment says; raises BadPlace for what is no port."""
    given = {field.name: environ.get(_variable(field.name), "").strip() for field in fields(Places)}
    ports = {name: _port(name, text) for name, text in given.items() if text and name != "app"}
    return Places(**ports, app=given["app"] or Places.app)


def free() -> Places:
    """Return places that nobody uses at the moment."""
    names = [field.name for field in fields(Places) if field.name.endswith("_port")]
    sockets = [socket.create_server((HOST, 0)) for _ in names]
    try:
        ports = {name: taken.getsockname()[1] for name, taken in zip(names, sockets, strict=True)}
    finally:
        for taken in sockets:
            taken.close()
    return Places(**ports)


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


def _port(name: str, text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise BadPlace(f"{_variable(name)} must be a port from 1 to 65535, not {text!r}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the programs do: a port whose last connections have just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
