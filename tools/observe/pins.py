"""Pinned versions of the programs, with the checksums of their sources.

The versions are those of docker-compose.yml, except for Jaeger: 2.13 is its last version that is a
Go module. A checksum is the one that `go mod download -json` reports for the module's content; the
module's own go.sum verifies its dependencies.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST = HERE / "otelcol-builder.yaml"
MODULES = HERE / "otelcol"  # go.mod and go.sum of the collector in the manifest

GO = (1, 26)  # the oldest version that compiles all programs
# Without optimization compiling takes a third of the time, and no program here is busy.
FLAGS = ("-trimpath", "-ldflags", "-s -w", "-gcflags", "all=-N -l")


@dataclass(frozen=True)
class Module:
    """One version of a Go module; `sum` is verified before compilation."""

    path: str
    version: str
    sum: str


@dataclass(frozen=True)
class Program:
    """The binaries compiled from one module: file names and their packages."""

    title: str
    module: Module
    binaries: Mapping[str, str]
    tags: tuple[str, ...] = ()
    only_for_tests: bool = False


BUILDER = Program(
    title="the collector's builder",
    module=Module(
        "go.opentelemetry.io/collector/cmd/builder",
        "v0.159.0",
        "h1:5pq4bsa/Y26aQqpZKLQxdwrIDDSCrybk+BjVkKmNqow=",
    ),
    binaries={"builder": "."},
)

JAEGER = Program(
    title="Jaeger 2.13",
    module=Module(
        "github.com/jaegertracing/jaeger",
        "v1.76.0",
        "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g=",
    ),
    binaries={"jaeger": "./cmd/jaeger"},
)

PROMETHEUS = Program(
    title="Prometheus 3.13.5",
    module=Module(
        "github.com/prometheus/prometheus",
        "v0.313.5",
        "h1:5/kewqSFNlHQa9NqZxrOkXCBlEuJOvb+8gFOUxSWFv0=",
    ),
    binaries={"prometheus": "./cmd/prometheus", "promtool": "./cmd/promtool"},
    tags=("remove_all_sd",),  # no service discovery of clouds, half of the code to compile
)

COMPOSE = Program(
    title="Docker Compose 2.40.3, to check docker-compose.yml with",
    module=Module(
        "github.com/docker/compose/v2",
        "v2.40.3",
        "h1:XeYkQu1svDtyfZPv5nTwFryQ25ZJMkIlc4pz9HalMPI=",
    ),
    binaries={"docker-compose": "./cmd"},
    only_for_tests=True,
)

COLLECTOR = "otelcol"  # the file name in the manifest
COLLECTOR_VERSION = "0.159.0"
PROGRAMS = (JAEGER, PROMETHEUS, COMPOSE)


def compute_fingerprint() -> str:
    """Return a name for this set of programs, which changes with every pin and flag."""
    text = repr((GO, FLAGS, BUILDER, *PROGRAMS)).encode()
    files = (MANIFEST, MODULES / "go.mod", MODULES / "go.sum")
    return hashlib.sha256(b"\0".join([text, *(path.read_bytes() for path in files)])).hexdigest()[
        :16
    ]
