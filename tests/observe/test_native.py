"""`python -m tools.observe up`: start with one command, stop with one signal, no leftovers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests._support.observe.queries import Jaeger, Prometheus, until
from tests._support.observe.stack_plan import Serve, plan
from tests._support.observe.traffic import ServiceClient
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import children, is_alive, kill
from tools.observe import addresses
from tools.observe.addresses import Addresses
from tools.observe.programs import ROOT
from tools.observe.stack import StackError, run_stack


def build_environment(at: Addresses) -> dict[str, str]:
    ports = {variable: str(port) for variable, port in at.ports()}
    return {**os.environ, **ports, "OBSERVE_APP": at.app, "OBSERVE_SCRAPE_INTERVAL": "1s"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tools.observe", *arguments]


@contextmanager
def up(at: Addresses, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `up` during the block, with its output in `folder`/output."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command("up"), cwd=ROOT, env=build_environment(at), stderr=output
        )
    try:
        yield process
    finally:
        for pid in [*children(process.pid), process.pid]:
            kill(pid)
        process.wait()


@pytest.fixture
def at(binaries: Path) -> Addresses:
    return addresses.find_free()


def ready(folder: Path) -> Callable[[], bool]:
    return lambda: "Ctrl-C ends all three." in (folder / "output").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_prints_the_addresses_and_stops_all_programs_on_a_signal(
    at: Addresses, tmp_path: Path, number: signal.Signals
) -> None:
    with up(at, tmp_path) as process:
        until(ready(tmp_path), "it did not come up")
        output = (tmp_path / "output").read_text()
        assert at.jaeger in output
        assert at.prometheus in output
        assert f"OTEL_EXPORTER_OTLP_ENDPOINT={at.collector} make run" in output
        assert "make trace" in output
        assert len(children(process.pid)) == 3
        running = children(process.pid)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    assert not any(is_alive(pid) for pid in running)
    folder = re.search(r"data in (\S+)", output)
    assert folder
    assert not Path(folder[1]).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_no_program_survives_when_up_is_killed(at: Addresses, tmp_path: Path) -> None:
    with up(at, tmp_path) as process:
        until(ready(tmp_path), "it did not come up")
        running = children(process.pid)
        process.kill()
        process.wait()
        until(lambda: not any(is_alive(pid) for pid in running), "something survived")


def test_a_program_that_ends_is_reported_and_the_others_continue(
    at: Addresses, tmp_path: Path
) -> None:
    with up(at, tmp_path) as process:
        until(ready(tmp_path), "it did not come up")

        def read_output() -> str:
            return (tmp_path / "output").read_text()

        running = {
            Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in children(process.pid)
        }
        os.kill(running.pop("otelcol"), signal.SIGKILL)
        until(lambda: "collector ended with signal 9" in read_output(), "the end was not reported")
        assert httpx.get(f"{at.jaeger}/api/services").status_code == 200
        assert httpx.get(f"{at.prometheus}/-/healthy").status_code == 200
        for pid in running.values():
            os.kill(pid, signal.SIGKILL)
        assert process.wait(PATIENCE_S) == 1
    assert "All of them have ended." in read_output()
    assert "Traceback" not in read_output()


def test_a_port_in_use_gives_a_one_line_error(at: Addresses) -> None:
    with socket.create_server(("127.0.0.1", at.prometheus_port)):
        done = subprocess.run(
            command("up"), cwd=ROOT, env=build_environment(at), capture_output=True, text=True
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"Port {at.prometheus_port} is in use by another program; end that one, or set"
        " OBSERVE_PROMETHEUS_PORT to a free port.\n"
    )


def test_a_program_that_does_not_start_is_reported_with_its_log(
    binaries: Path, tmp_path: Path
) -> None:
    faulty = plan(binaries, tmp_path, OTELCOL_FLUSH_INTERVAL="soon")
    with (
        pytest.raises(
            StackError, match=r"(?s)collector ended with exit code 1.*metrics_flush_interval"
        ),
        run_stack(faulty),
    ):
        pass


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_an_invalid_port_gives_a_one_line_error(port: str) -> None:
    environment = {**os.environ, "OBSERVE_JAEGER_PORT": port}
    done = subprocess.run(command("up"), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"OBSERVE_JAEGER_PORT must be a port from 1 to 65535, not {port!r}.\n"


def test_the_printed_command_line_is_sufficient_for_the_service(
    at: Addresses, tmp_path: Path, serve: Serve
) -> None:
    with up(at, tmp_path):
        until(ready(tmp_path), "it did not come up")
        with serve(at.collector, "--port", at.app.rpartition(":")[2]) as service:
            client = ServiceClient(service.url)
            asked = client.ask()
            client.http.close()
            Jaeger(at.jaeger).until(asked.trace_id, "POST /api/process")
            Prometheus(at.prometheus).until("fanout_runs_total > 0")


def test_the_programs_listen_only_on_the_loopback_interface(at: Addresses, tmp_path: Path) -> None:
    with up(at, tmp_path):
        until(ready(tmp_path), "it did not come up")
        assert httpx.get(f"{at.prometheus}/-/ready").status_code == httpx.codes.OK
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if int(port, 16) in dict(at.ports()).values():
                assert address == "0100007F"
