"""Start-up: the banner, and the error for each mistake in the configuration."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests._support.clients.api import asking, assert_whole, client_of, events_of, until
from tests._support.llm import ensembles
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, environment, run, serving
from tests._support.servers.services import Start, Told


def refused(folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """Return exit code and stderr of a service that does not start."""
    process = run(folder, "serve", "--port", "0", *arguments, **settings)
    try:
        code = process.wait()
    finally:
        process.end()
    assert "Traceback" not in process.err
    assert process.out == ""
    return code, process.err


def test_each_malformed_setting_is_reported(tmp_path: Path) -> None:
    wrong = {
        "WORKERS": "none",
        "LOG_LEVEL": "loud",
        "HTTP_ADDR": "nowhere",
        "LLM_BASE_URL": "ftp://example.com",
        "MAX_TOKENS": "-1",
        "USE_LLM_MOCK": "perhaps",
        "DRAIN_S": "soon",
    }
    code, stderr = refused(tmp_path, **wrong)
    assert code == 2
    for name, value in wrong.items():
        if name != "HTTP_ADDR":  # looked at once the others are right
            assert f"{name}: " in stderr
        assert value not in stderr.replace("nowhere", "")
    code, stderr = refused(tmp_path, HTTP_ADDR="nowhere")
    assert code == 2
    assert "HTTP_ADDR: " in stderr


def test_an_unknown_name_in_the_env_file_is_reported_with_the_most_similar_one(
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("LLM_KEI=x\n")
    (tmp_path / "ensembles.toml").write_text(ensembles.toml())
    code, stderr = refused(tmp_path)
    assert code == 2
    assert "LLM_KEI in .env" in stderr
    assert "did you mean LLM_KEY?" in stderr


def test_a_fault_in_the_ensembles_file_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "ensembles.toml").write_text(
        '[agents.a]\nmodell = "x"\n[ensembles.fanout]\nagents = ["a", "b"]\n'
    )
    code, stderr = refused(tmp_path)
    assert code == 2
    assert "ensembles.toml:2: agents.a.modell" in stderr


def test_a_missing_ensembles_file_is_reported(tmp_path: Path) -> None:
    code, stderr = refused(tmp_path, ENSEMBLES_FILE="elsewhere.toml")
    assert code == 2
    assert "elsewhere.toml" in stderr


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ensembles.toml").write_text(ensembles.toml())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = run(tmp_path, "serve", HOST="127.0.0.1", PORT=str(port))
        try:
            assert process.wait() == 1
        finally:
            process.end()
    assert f"127.0.0.1:{port}" in process.err
    assert "in use" in process.err
    assert len(process.err.splitlines()) == 1


def test_the_banner_shows_the_url_the_mock_and_a_curl_command(tmp_path: Path) -> None:
    (tmp_path / "ensembles.toml").write_text(ensembles.toml())
    with serving(run(tmp_path, "serve", "--port", "0")) as service:
        banner = service.out
        assert service.url in banner
        assert "mock" in banner
        pasted = banner[banner.index("curl ") :]
        done = subprocess.run(
            ["sh", "-c", pasted],  # whichever shell a user has
            env=environment({}),
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
    events = events_of(done.stdout)
    assert_whole(events)
    assert events[-1].data["status"] == "Completed"


def test_the_banner_names_the_real_servers_when_there_is_no_mock(
    service: Process, mock_llm: Process
) -> None:
    assert "the mock LLM" not in service.out
    assert f"127.0.0.1:{mock_llm.port}" in service.out


async def test_the_environment_takes_precedence_over_the_env_file(
    tmp_path: Path, told: Told
) -> None:
    settings = told(tmp_path)
    told_in_file = "".join(f"{name}={value}\n" for name, value in settings.items())
    (tmp_path / ".env").write_text(f"{told_in_file}MAX_BODY_BYTES=100000\n")
    with serving(run(tmp_path, "serve", "--port", "0", MAX_BODY_BYTES="2048")) as service:
        async with client_of(service.url) as api:
            assert (await api.ask())[-1].data["status"] == "Completed"
            too_large = await api.http.post("/api/process", json=asking("x" * 3000))
            assert too_large.status_code == 413


async def test_a_changed_ensembles_file_is_used_without_a_restart(start: Start) -> None:
    service = start()
    file = service.folder / "some-ensembles.toml"
    async with client_of(service.url) as api:

        async def there() -> bool:
            response = await api.http.post("/api/process", json=asking(ensemble="new"))
            return response.status_code == 200

        assert not await there()
        file.write_text(
            f'{file.read_text()}[ensembles.new]\nstrategy = "solo"\nagents = ["llm-1"]\n'
        )
        await until(there)
