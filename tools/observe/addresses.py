"""Addresses of the programs of the stack and of the service.

All programs listen on the loopback interface, by default on their usual ports. OBSERVE_<NAME>
selects another, such as OBSERVE_PROMETHEUS_PORT=9091 or OBSERVE_APP=127.0.0.1:8081.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

HOST = "127.0.0.1"
_PREFIX = "OBSERVE_"


class AddressError(Exception):
    """A port cannot be used; the message proposes a solution."""


@dataclass(frozen=True)
class Addresses:
    """The programs' ports on 127.0.0.1, and the service's host:port."""

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
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://{HOST}:{self.collector_http_port}"

    @property
    def jaeger(self) -> str:
        return f"http://{HOST}:{self.jaeger_port}"

    @property
    def prometheus(self) -> str:
        return f"http://{HOST}:{self.prometheus_port}"

    def ports(self) -> Iterator[tuple[str, int]]:
        """Yield the variable name and the number of every port."""
        for name, value in vars(self).items():
            if isinstance(value, int):
                yield _variable_name(name), value

    def require_free(self) -> None:
        """Raise AddressError when a port is in use or assigned twice."""
        seen: dict[int, str] = {}
        for variable, port in self.ports():
            if port in seen:
                raise AddressError(f"{variable} and {seen[port]} are both {port}; change one.")
            seen[port] = variable
            if not _is_free(port):
                raise AddressError(
                    f"Port {port} is in use by another program; end that one, or set"
                    f" {variable} to a free port."
                )


def read_addresses(environ: Mapping[str, str]) -> Addresses:
    """Return the default addresses with those that the environment overrides.

    Raises AddressError for a value that is not a port number.
    """
    given = {
        field.name: environ.get(_variable_name(field.name), "").strip()
        for field in fields(Addresses)
    }
    ports = {
        name: _parse_port(name, text) for name, text in given.items() if text and name != "app"
    }
    return Addresses(**ports, app=given["app"] or Addresses.app)


def find_free() -> Addresses:
    """Return addresses with ports that are free now."""
    names = [field.name for field in fields(Addresses) if field.name.endswith("_port")]
    sockets = [socket.create_server((HOST, 0)) for _ in names]
    try:
        ports = {name: taken.getsockname()[1] for name, taken in zip(names, sockets, strict=True)}
    finally:
        for taken in sockets:
            taken.close()
    return Addresses(**ports)


def _variable_name(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


def _parse_port(name: str, text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise AddressError(f"{_variable_name(name)} must be a port from 1 to 65535, not {text!r}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Like the programs: a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
