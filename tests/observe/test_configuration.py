"""The configuration files, validated by the programs and compared with one another."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.observe import pins
from tools.observe.programs import (
    COLLECTOR_CONFIG,
    FEATURES,
    JAEGER_CONFIG,
    PROMETHEUS_FILES,
    ROOT,
    TAIL_SAMPLING,
)

COMPOSE = ROOT / "docker-compose.yml"
KINDS = ("receivers", "processors", "connectors", "exporters", "extensions")
# Components with a module name that differs from their name in the configuration.
MODULES = {"otlp_grpc": "otlp", "health_check": "healthcheck"}


def check(*command: str | Path) -> str:
    """Run a check that must succeed, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    "configs", [[COLLECTOR_CONFIG], [COLLECTOR_CONFIG, TAIL_SAMPLING]], ids=["plain", "sampling"]
)
def test_the_collector_accepts_its_configuration(binaries: Path, configs: list[Path]) -> None:
    output = check(binaries / "otelcol", "validate", *(f"--config={path}" for path in configs))
    assert "deprecated" not in output


def test_jaeger_accepts_its_configuration(binaries: Path) -> None:
    output = check(binaries / "jaeger", "validate", f"--config={JAEGER_CONFIG}")
    assert "deprecated" not in output


def test_prometheus_accepts_its_configuration(binaries: Path) -> None:
    check(
        binaries / "promtool", "check", "config", "--lint=all", "--lint-fatal",
        PROMETHEUS_FILES / "prometheus.yml",
    )  # fmt: skip
    check(
        binaries / "promtool", "check", "rules", "--lint=all", "--lint-fatal",
        PROMETHEUS_FILES / "alerts.yml",
    )  # fmt: skip


def test_the_alert_rules_pass_their_tests(binaries: Path) -> None:
    check(binaries / "promtool", "test", "rules", PROMETHEUS_FILES / "alerts_test.yml")


def alerts() -> list[dict[str, Any]]:
    groups = read(PROMETHEUS_FILES / "alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_description_and_a_test(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert rule["for"]
    told = [
        case
        for test in read(PROMETHEUS_FILES / "alerts_test.yml")["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    ]
    assert any(case["exp_alerts"] for case in told)


@pytest.mark.parametrize("path", [COLLECTOR_CONFIG, JAEGER_CONFIG])
def test_every_address_is_a_variable_with_the_default_of_compose(path: Path) -> None:
    text = path.read_text()
    for address in re.findall(r"^ *(?:- )?(?:endpoint|host|port): *(.+)$", text, re.MULTILINE):
        assert re.fullmatch(r"\$\{env:(OTELCOL|JAEGER)_[A-Z_]+:-.+\}", address), address


def test_the_prometheus_targets_are_the_addresses_of_compose() -> None:
    files = PROMETHEUS_FILES / "targets"
    told = {path.stem: read(path)[0]["targets"] for path in files.iterdir()}
    assert told == {
        "app": ["app:8080"],
        "span-metrics": ["otel-collector:8889"],
        "collector": ["otel-collector:8888"],
    }
    jobs = read(PROMETHEUS_FILES / "prometheus.yml")["scrape_configs"]
    named = [file for job in jobs for sd in job["file_sd_configs"] for file in sd["files"]]
    assert sorted(named) == sorted(f"targets/{name}.yml" for name in told)


def module(kind: str, name: str) -> str:
    kind_of = kind.removesuffix("s")
    return (MODULES.get(name, name) + kind_of).replace("_", "")


def test_the_collector_is_built_with_the_components_of_its_configuration() -> None:
    named = {
        module(kind, name.partition("/")[0])
        for path in (COLLECTOR_CONFIG, TAIL_SAMPLING)
        for kind in KINDS
        for name in read(path).get(kind, {})
    }
    manifest = read(pins.MANIFEST)
    built = {
        component["gomod"].split()[0].rpartition("/")[2]
        for kind in KINDS
        for component in manifest[kind]
    }
    assert built == named
    versions = {component["gomod"].split()[1] for kind in KINDS for component in manifest[kind]}
    assert versions == {f"v{pins.COLLECTOR_VERSION}"}
    assert manifest["dist"]["version"] == pins.COLLECTOR_VERSION


def test_the_locked_modules_are_those_of_the_manifest() -> None:
    """If it fails: python -m tools.observe lock."""
    manifest = read(pins.MANIFEST)
    locked = (pins.MODULES / "go.mod").read_text().splitlines()
    for kind in (*KINDS, "providers"):
        for component in manifest[kind]:
            assert f"\t{component['gomod']}" in locked


def test_sampling_waits_longer_than_a_run_may_take() -> None:
    wait = read(TAIL_SAMPLING)["processors"]["tail_sampling"]["decision_wait"]
    found = re.search(r":-(\d+)s}", wait)
    assert found
    assert int(found[1]) > 180  # timeout_s of an ensemble, unless it says otherwise


def test_compose_accepts_its_file(binaries: Path) -> None:
    check(binaries / "docker-compose", "-f", COMPOSE, "config", "--quiet")


def test_compose_runs_the_versions_that_are_built_here() -> None:
    images = dict(
        service["image"].partition("@")[0].rsplit(":", 1)
        for service in read(COMPOSE)["services"].values()
        if ":" in service.get("image", "")
    )
    assert images["otel/opentelemetry-collector-contrib"] == pins.COLLECTOR_VERSION
    assert f"Prometheus {images['prom/prometheus'].removeprefix('v')}" == pins.PROMETHEUS.title
    assert images["jaegertracing/jaeger"].startswith("2.")


def test_prometheus_has_the_features_that_it_has_in_compose() -> None:
    assert f"--enable-feature={FEATURES}" in read(COMPOSE)["services"]["prometheus"]["command"]
