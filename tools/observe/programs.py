"""Commands, environments and configuration of the stack's programs.

The configuration files are those that docker-compose.yml mounts. The collector and Jaeger get their
addresses through environment variables. Prometheus does not read variables, so its targets are
written into the run folder, next to links to its other files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.observe.addresses import HOST, Addresses

ROOT = Path(__file__).parents[2]
COLLECTOR_CONFIG = ROOT / "otel-collector.yaml"
TAIL_SAMPLING = ROOT / "deploy" / "otelcol" / "tail-sampling.yaml"
JAEGER_CONFIG = ROOT / "deploy" / "jaeger" / "config.yaml"
PROMETHEUS_FILES = ROOT / "deploy" / "prometheus"
# As in docker-compose.yml. The second makes a counter's first increase visible, which otherwise
# would need an earlier sample of 0.
FEATURES = "exemplar-storage,created-timestamp-zero-ingestion"


@dataclass(frozen=True)
class Command:
    """The command line and environment of one program, and the URL of its health check."""

    name: str
    arguments: tuple[str, ...]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A stack to run: the programs in `binaries`, with their files under `folder`.

    `scrape_interval` (a Prometheus duration) overrides the one in prometheus.yml.
    """

    binaries: Path
    folder: Path
    addresses: Addresses
    tail_sampling: bool = False
    scrape_interval: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def build_commands(self) -> tuple[Command, ...]:
        """Return the commands in the order of their start."""
        return (self._build_prometheus(), self._build_jaeger(), self._build_collector())

    def _build_collector(self) -> Command:
        at = self.addresses
        configs = (COLLECTOR_CONFIG, TAIL_SAMPLING) if self.tail_sampling else (COLLECTOR_CONFIG,)
        return Command(
            "collector",
            (str(self.binaries / "otelcol"), *(f"--config={path}" for path in configs)),
            f"http://{HOST}:{at.collector_health_port}/",
            {
                "OTELCOL_GRPC_ADDR": f"{HOST}:{at.collector_grpc_port}",
                "OTELCOL_HTTP_ADDR": f"{HOST}:{at.collector_http_port}",
                "OTELCOL_HEALTH_ADDR": f"{HOST}:{at.collector_health_port}",
                "OTELCOL_SPAN_METRICS_ADDR": f"{HOST}:{at.span_metrics_port}",
                "OTELCOL_METRICS_HOST": HOST,
                "OTELCOL_METRICS_PORT": str(at.collector_metrics_port),
                "OTELCOL_JAEGER_ADDR": f"{HOST}:{at.jaeger_otlp_port}",
                **self.environment,
            },
        )

    def _build_jaeger(self) -> Command:
        at = self.addresses
        return Command(
            "jaeger",
            (str(self.binaries / "jaeger"), f"--config={JAEGER_CONFIG}"),
            f"http://{HOST}:{at.jaeger_health_port}/status",
            {
                "JAEGER_OTLP_ADDR": f"{HOST}:{at.jaeger_otlp_port}",
                "JAEGER_QUERY_ADDR": f"{HOST}:{at.jaeger_port}",
                "JAEGER_QUERY_GRPC_ADDR": f"{HOST}:{at.jaeger_grpc_port}",
                "JAEGER_HEALTH_ADDR": f"{HOST}:{at.jaeger_health_port}",
                "JAEGER_PROMETHEUS_URL": at.prometheus,
            },
        )

    def _build_prometheus(self) -> Command:
        config = self._write_prometheus_folder() / "prometheus.yml"
        return Command(
            "prometheus",
            (
                str(self.binaries / "prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'prometheus-data'}",
                f"--web.listen-address={HOST}:{self.addresses.prometheus_port}",
                f"--enable-feature={FEATURES}",
            ),
            f"{self.addresses.prometheus}/-/ready",
        )

    def _write_prometheus_folder(self) -> Path:
        folder = self.folder / "prometheus"
        (folder / "targets").mkdir(parents=True)
        for name in ("prometheus.yml", "alerts.yml"):
            (folder / name).symlink_to(PROMETHEUS_FILES / name)
        labels = ("__scrape_interval__", "__scrape_timeout__") if self.scrape_interval else ()
        for name, address in self._list_targets():
            # JSON is YAML too.
            groups = json.dumps(
                [{"targets": [address], "labels": dict.fromkeys(labels, self.scrape_interval)}]
            )
            (folder / "targets" / f"{name}.yml").write_text(groups)
        return folder

    def _list_targets(self) -> Iterator[tuple[str, str]]:
        yield "app", self.addresses.app
        yield "span-metrics", f"{HOST}:{self.addresses.span_metrics_port}"
        yield "collector", f"{HOST}:{self.addresses.collector_metrics_port}"


def inherit_environment() -> dict[str, str]:
    """Return this process's environment without OTEL_* variables, which are for the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
