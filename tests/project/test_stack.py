"""The compose stack: limits of each container, and the addresses between them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from service.settings import check_env_file, load_settings
from tests._support.paths import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NAMES = sorted(SERVICES)
CONFIGURED = [
    "otel-collector.yaml",
    "deploy/jaeger/config.yaml",
    "deploy/grafana/provisioning/datasources/stack.yml",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "deploy/prometheus/targets").glob("*.yml")),
]


def _text(path: str) -> str:
    """Return a file without its comments."""
    return re.sub(r"(^|\s)#.*", "", (ROOT / path).read_text("utf-8"))


def _mounts(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield source, target and mode of what a container is given."""
    for each in SERVICES[name].get("volumes", []):
        source, target, *mode = each.split(":")
        yield source, target, "".join(mode)


def _bytes(size: str) -> int:
    units = {"m": 2**20, "g": 2**30}
    return int(size[:-1]) * units[size[-1]]


# --- in bounds ---


DIGEST = r"@sha256:[0-9a-f]{64}"
# Its digest could not be verified from two public sources.
BY_TAG_ALONE = {"prometheus"}


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_to_a_version_and_a_digest(name: str) -> None:
    if "build" not in SERVICES[name]:
        digest = "" if name in BY_TAG_ALONE else DIGEST
        assert re.fullmatch(rf"[a-z/-]+:v?\d+\.\d+[\w.-]*{digest}", SERVICES[name]["image"])


def test_the_images_of_the_dockerfile_are_pinned_to_a_digest() -> None:
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert images
    for image in images:
        assert re.fullmatch(rf"python:3\.\d+-slim-\w+{DIGEST}", image)


def test_actions_are_pinned_to_a_commit_with_their_version() -> None:
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    uses = [line for file in files for line in re.findall(r"uses: (.+)", file.read_text("utf-8"))]
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", each)


@pytest.mark.parametrize("name", NAMES)
def test_somebody_asks_a_container_after_its_health(name: str) -> None:
    checks = [
        SERVICES[each].get("healthcheck") for each in (name, f"{name}-health") if each in NAMES
    ]
    check = next(each for each in checks if each)
    assert {"test", "interval", "timeout", "start_period", "retries"} == set(check)
    assert check["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", NAMES)
def test_a_container_comes_back_and_takes_only_so_much(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert _bytes(service["mem_limit"]) <= 2 * 2**30
    assert service["logging"]["driver"] == "json-file"
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("name", NAMES)
def test_a_container_has_no_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user", "") not in ("root", "0")
    assert "privileged" not in service


@pytest.mark.parametrize("name", NAMES)
def test_only_this_machine_can_reach_it_at_a_port_that_can_be_changed(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+_PORT:-\d+\}:\d+", port)


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_only_the_service_can_reach_the_databases(name: str) -> None:
    assert "ports" not in SERVICES[name]
    assert SERVICES[name]["networks"] == ["data"]
    assert COMPOSE["networks"]["data"]["internal"] is True
    there = {each for each in NAMES if "data" in SERVICES[each].get("networks", [])}
    assert there == {"app", "postgres", "redis"}


def test_the_collector_refuses_data_before_it_is_killed_for_its_memory() -> None:
    limit = re.search(r"limit_mib: (\d+)", _text("otel-collector.yaml"))
    assert limit
    assert int(limit[1]) * 2**20 < _bytes(SERVICES["otel-collector"]["mem_limit"])


# --- mounts, volumes, dependencies ---


@pytest.mark.parametrize("name", NAMES)
def test_what_is_mounted_exists_and_cannot_be_changed(name: str) -> None:
    for source, _, mode in _mounts(name):
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert mode == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_what_has_to_last_is_in_a_volume() -> None:
    kept = {source for name in NAMES for source, *_ in _mounts(name) if source[0] != "."}
    assert kept == set(COMPOSE["volumes"])
    assert kept == {
        f"{each}-data" for each in ("app", "postgres", "redis", "prometheus", "grafana")
    }


def test_grafana_finds_the_dashboard() -> None:
    inside = {target: source for source, target, _ in _mounts("grafana")}
    provider = yaml.safe_load(_text("deploy/grafana/provisioning/dashboards/stack.yml"))
    folder = provider["providers"][0]["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{folder}/")
    assert (ROOT / inside[folder] / Path(home).name).is_file()


def test_grafana_is_read_only() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    provider = yaml.safe_load(_text("deploy/grafana/provisioning/dashboards/stack.yml"))
    assert provider["providers"][0]["allowUiUpdates"] is False
    sources = yaml.safe_load(_text("deploy/grafana/provisioning/datasources/stack.yml"))
    assert not any(each["editable"] for each in sources["datasources"])


def test_the_service_waits_for_its_database_and_for_nobody_who_watches_it() -> None:
    assert SERVICES["app"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "redis": {"condition": "service_started"},
    }


def test_the_service_writes_only_where_it_has_a_volume() -> None:
    app = SERVICES["app"]
    assert app["read_only"] is True
    assert ("app-data", "/data", "") in _mounts("app")
    assert app["environment"]["SPOOL_DIR"].startswith("/data/")


# --- addresses between containers ---


def _listens() -> dict[str, set[int]]:
    """Return the ports of each container: configured, or by default where nothing is."""
    configured = {"otel-collector": "otel-collector.yaml", "jaeger": "deploy/jaeger/config.yaml"}
    return {
        "app": {8080},
        "prometheus": {9090},
        "grafana": {3000},
        **{
            name: {int(port) for port in re.findall(r"(?:0\.0\.0\.0:|PORT:-)(\d+)", _text(path))}
            for name, path in configured.items()
        },
    }


def _asked(text: str) -> set[tuple[str, int]]:
    """Return the containers and ports that a text names."""
    found = re.findall(rf"\b({'|'.join(NAMES)}):(\d+)", text)
    return {(name, int(port)) for name, port in found}


@pytest.mark.parametrize("path", CONFIGURED)
def test_a_configured_address_is_that_of_a_container_which_listens_there(path: str) -> None:
    for name, port in _asked(_text(path)):
        assert port in _listens()[name], f"{name}:{port}"


def test_everything_that_is_to_be_connected_is() -> None:
    asked = set().union(*(_asked(_text(path)) for path in CONFIGURED))
    assert asked == {
        ("app", 8080),
        ("otel-collector", 8888),
        ("otel-collector", 8889),
        ("jaeger", 4317),
        ("jaeger", 16686),
        ("prometheus", 9090),
    }


PASSWORDS = ["plain", "p@ss:w/rd?#[%41] +&=", "pässwörd", "'\"\\"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_service_finds_its_database_whatever_the_password(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    told = dict(SERVICES["app"]["environment"])
    assert told["POSTGRES_PASSWORD"] == SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    told |= {"POSTGRES_PASSWORD": password, "DATABASE_URL": "", "REDIS_URL": "", "TRACE_URL": ""}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    url = urlsplit(load_settings(None).database)
    assert (url.scheme, url.hostname, url.port) == ("postgresql", "postgres", 5432)
    assert (url.username, unquote(url.password or ""), url.path) == (
        *("postgres", password, "/postgres"),
    )


def test_another_database_can_be_named() -> None:
    environment = SERVICES["app"]["environment"]
    assert environment["DATABASE_URL"] == "${DATABASE_URL:-}"
    assert environment["REDIS_URL"] == "${REDIS_URL:-redis://redis:6379/0}"


def test_the_image_keeps_what_it_is_told_on_a_volume_that_its_user_owns() -> None:
    image = _text("Dockerfile")
    user = re.search(r"^USER (\d+):(\d+)$", image, re.MULTILINE)
    assert user
    assert f"--owner={user[1]} --group={user[2]} --mode=0700 /data\n" in image
    assert "\nVOLUME /data\n" in image
    assert "DATABASE_URL=sqlite:////data/" in image
    assert "SPOOL_DIR=/data/" in image


def test_the_service_sends_its_traces_to_the_collector_unless_told_otherwise() -> None:
    endpoint = SERVICES["app"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == "${OTEL_EXPORTER_OTLP_ENDPOINT:-http://otel-collector:4318}"
    assert 4318 in _listens()["otel-collector"]


@pytest.mark.parametrize("name", sorted(_listens()))
def test_a_published_port_is_one_that_the_container_listens_at(name: str) -> None:
    published = {int(port.rpartition(":")[2]) for port in SERVICES[name]["ports"]}
    assert published <= _listens()[name]


@pytest.mark.parametrize("name", sorted(_listens()))
def test_a_health_check_asks_where_the_container_listens(name: str) -> None:
    asker = name if "healthcheck" in SERVICES[name] else f"{name}-health"
    command = " ".join(SERVICES[asker]["healthcheck"]["test"])
    host = "127.0.0.1" if asker == name else name
    asked = re.search(rf"http://{re.escape(host)}:(\d+)/", command)
    assert asked
    assert int(asked[1]) in _listens()[name]


def test_grafana_opens_traces_in_jaeger_at_its_published_port() -> None:
    port = SERVICES["jaeger"]["ports"][0].split(":", 1)[1].rpartition(":")[0]
    assert SERVICES["grafana"]["environment"]["JAEGER_PORT"] == port
    assert "http://localhost:${JAEGER_PORT}/trace/" in _text(CONFIGURED[2])


# --- variables ---


def _variables() -> dict[str, str]:
    """Return the variables that the file reads, with their defaults."""
    return dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", _text("docker-compose.yml")))


def test_its_variables_are_documented_with_their_ports() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert set(_variables()) <= {line.lstrip("#").partition("=")[0] for line in lines}
    ports = {name: default for name, default in _variables().items() if name.endswith("_PORT")}
    assert {f"#{name}={default}" for name, default in ports.items()} <= set(lines)


def test_its_variables_may_stand_in_the_file_that_the_service_reads(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("".join(f"{name}=1\n" for name in _variables()))
    check_env_file(file, frozenset())


# --- the image ---


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    said = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "")
