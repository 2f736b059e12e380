"""The command line: its output and exit codes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from service.cli.main import main
from service.version import VERSION
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S

SECRET = "sk-very-secret-0123456789"
ENSEMBLES = """\
[agents.a]
model = "gpt-4o"
base_url = "http://lab.test:9000/v1"
key_env = "LAB_KEY"
[agents.b]
[ensembles.fanout]
agents = ["a"]
combiner = "b"
[ensembles.alone]
strategy = "solo"
agents = ["b"]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, with an ensembles file and no settings."""
    (tmp_path / "ensembles.toml").write_text(ENSEMBLES)
    monkeypatch.chdir(tmp_path)


def _settings(**values: str) -> None:
    Path(".env").write_text("".join(f"{name.upper()}={value}\n" for name, value in values.items()))


def _environment(**values: str) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **values}


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=_environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


# --- check ---


def test_check_lists_every_ensemble_with_its_agents_and_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "ensembles.toml is valid.",
        f"The database: {Path.cwd()}/data/service.db",
        "",
        "fanout (default): synthesize",
        "  a: gpt-4o (the mock)",
        "  b: gpt-4o-mini (the mock)",
        "",
        "alone: solo",
        "  b: gpt-4o-mini (the mock)",
    ]
    assert printed.err == ""


def test_check_shows_each_agents_server_and_whether_its_key_is_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _settings(use_llm_mock="false", lab_key=SECRET)
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "a: gpt-4o (lab.test:9000, key set)" in out
    assert "b: gpt-4o-mini (api.openai.com, no key)" in out
    assert "Warning: LLM_KEY is not set" in out


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("localhost:11434/v1", "is not an http or https address"),
        ("http://me:w0rd-s3cret@lab.test/v1", "contains a user name or a password"),
        ("http://lab.test/v1/responses", "ends in /responses"),
        ("http://lab.test:port/v1", "the port is not a number"),
    ],
)
def test_check_refuses_an_address_that_cannot_be_used(
    url: str, refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _settings(use_llm_mock="false", llm_base_url=url)
    text = _refusal(capsys)
    assert text.startswith("LLM_BASE_URL: ")
    assert refusal in text
    assert "s3cret" not in text


def test_check_warns_about_an_address_without_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(use_llm_mock="false", llm_base_url="http://lab.test:1/?api-version=1", llm_key="x")
    assert main(["check"]) == 0
    assert "The address of b has no path" in capsys.readouterr().out


def test_check_shows_the_proxy_of_each_server(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(use_llm_mock="false", https_proxy="http://me:w0rd-s3cret@proxy.test:3128")
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "b: gpt-4o-mini (api.openai.com through the proxy proxy.test:3128, no key)" in out
    assert "s3cret" not in out


def test_an_unusable_proxy_is_refused_unless_the_mock_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _settings(all_proxy="socks5://proxy.test:1")
    assert main(["check"]) == 0
    capsys.readouterr()
    _settings(all_proxy="socks5://proxy.test:1", use_llm_mock="false")
    assert _refusal(capsys).startswith("ALL_PROXY: ")


def test_check_warns_about_models_without_a_price_beside_a_limit_of_money(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("limits.toml").write_text('[[rules]]\ntokens = "9/day"\n')
    assert main(["check"]) == 0
    assert "has no price" not in capsys.readouterr().out
    Path("limits.toml").write_text('[[rules]]\ncost_usd = "9/day"\n')
    with Path("ensembles.toml").open("a") as file:
        file.write('[prices."gpt-4o"]\ninput = 1\noutput = 1\n')
    assert main(["check"]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "has no price" in line]
    assert warnings == [
        "Warning: gpt-4o-mini has no price: limits of cost_usd do not count its calls."
    ]


OPEN = "AUTH is off and the service listens beyond this machine"


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({"use_llm_mock": "false"}, True),
        ({"use_llm_mock": "false", "http_addr": "0.0.0.0:80"}, True),
        ({"use_llm_mock": "false", "host": "192.0.2.1"}, True),
        ({"use_llm_mock": "true"}, False),
        ({"use_llm_mock": "false", "host": "127.0.0.1"}, False),
        ({"use_llm_mock": "false", "http_addr": "[::1]:80"}, False),
        ({"use_llm_mock": "false", "http_addr": "localhost:80"}, False),
        ({"use_llm_mock": "false", "auth": "required"}, False),
        ({"use_llm_mock": "false", "api_key": "k" * 16}, False),
    ],
)
def test_check_warns_when_strangers_can_spend_money(
    capsys: pytest.CaptureFixture[str], settings: dict[str, str], is_open: bool
) -> None:
    _settings(**settings)
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert (OPEN in out) is is_open
    assert "API_KEY has less" not in out


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({"auth": "required"}, True),
        ({"auth": "required", "host": "127.0.0.1"}, False),
        ({"auth": "required", "registration": "invite"}, False),
        ({"api_key": "k" * 16}, False),
        ({"api_key": "k" * 16, "registration": "open"}, True),
    ],
)
def test_check_warns_when_strangers_can_register(
    capsys: pytest.CaptureFixture[str], settings: dict[str, str], is_open: bool
) -> None:
    _settings(use_llm_mock="false", **settings)
    assert main(["check"]) == 0
    assert ("REGISTRATION is open" in capsys.readouterr().out) is is_open


def test_check_warns_about_keys_that_can_be_guessed_or_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokens = {"jwt_issuer": "https://idp.test", "jwt_audience": "llm-sse"}
    _settings(api_key="short", jwt_jwks="http://idp.test/jwks.json", **tokens)
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "API_KEY has less than 16 characters" in out
    assert "JWT_JWKS is fetched without TLS" in out
    assert "short" not in out.replace("API_KEY has less", "")


def test_check_shows_the_database_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _settings(postgres_host="db.test", postgres_password=SECRET, postgres_db="chats")
    assert main(["check"]) == 0
    printed = capsys.readouterr()
    assert "The database: PostgreSQL, db.test:5432/chats" in printed.out
    assert SECRET not in printed.out + printed.err


@pytest.mark.parametrize("url", ["mysql://h/x", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_an_invalid_database_url_is_refused_at_start_up(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _settings(database_url=url)
    for command in ("check", "migrate"):
        assert main([command]) == 2
        assert capsys.readouterr().err.startswith("DATABASE_URL: ")


# --- migrate ---


def test_migrate_applies_migrations_once_and_reverts_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["migrate", "--check"]) == 1
    assert main(["migrate"]) == 0
    assert main(["migrate", "--check"]) == 0
    assert main(["migrate"]) == 0
    assert main(["migrate", "--down-to", "base"]) == 0
    assert main(["migrate", "--down-to", "nowhere"]) == 2
    printed = capsys.readouterr()
    first, applied, check, again, back = printed.out.splitlines()
    assert "python -m service migrate" in first
    assert applied.startswith("Applied 0001, ")
    assert check == "The database is at this version."
    assert again == "There was nothing to do."
    assert back.startswith("Reverted ")
    assert "nowhere" in printed.err


def test_check_shows_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(use_llm_mock="false", llm_key=SECRET, lab_key=SECRET)
    main(["check"])
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err


def _refusal(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["check"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_a_fault_in_the_ensembles_file_is_reported_with_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("ensembles.toml").write_text(ENSEMBLES + "agnets = 1\n")
    assert _refusal(capsys) == "ensembles.toml:12: ensembles.alone.agnets: this key is not known\n"


def test_a_malformed_setting_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(workers="many")
    assert _refusal(capsys).startswith("WORKERS: ")


def test_an_unknown_name_in_the_env_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(drain="5")
    assert _refusal(capsys) == "DRAIN in .env: not a known setting; did you mean DRAIN_S?\n"


def test_an_agents_key_in_the_env_file_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(lab_key=SECRET)
    assert main(["check"]) == 0


def test_a_missing_ensembles_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    _settings(ensembles_file="nowhere.toml")
    assert _refusal(capsys).startswith("nowhere.toml: cannot be read")


# --- as a process ---


def test_a_process_that_cannot_start_prints_the_reason_to_stderr_and_exits_with_2() -> None:
    done = _run("serve", WORKERS="0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("WORKERS: ")
    assert "Traceback" not in done.stderr


def test_a_check_without_faults_exits_with_0() -> None:
    done = _run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ensembles.toml is valid.\n")


def test_a_port_in_use_is_reported_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run("serve", "--host", "127.0.0.1", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_mock_prints_its_address_and_ends_when_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "service", "mock", "--port", "0"],
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        text = process.stdout.readline()
        match = re.search(r"LLM_BASE_URL=(http://127\.0\.0\.1:\d+/v1)", text)
        assert match
        assert httpx.get(f"{match[1]}/models").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


# --- usage ---


def _usage(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    return caught.value.code, printed.out, printed.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _usage(capsys, "--version") == (0, f"{VERSION}\n", "")


def test_help_lists_the_commands_for_users(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _usage(capsys, "--help")
    assert code == 0
    assert {"serve", "mock", "check"} <= set(out.split())
    assert "worker" not in out.split()


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (("serv",), "did you mean serve?"),
        (("chekc",), "did you mean check?"),
        (("serve", "--workes", "2"), "did you mean --workers?"),
        (("mock", "--sed=3"), "did you mean --seed?"),
    ],
)
def test_a_typo_gets_the_most_similar_word(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], suggestion: str
) -> None:
    code, _, err = _usage(capsys, *arguments)
    assert code == 2
    assert suggestion in err


def test_an_unknown_command_is_answered_with_no_hidden_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, _, err = _usage(capsys, "foo")
    assert "worker" not in err
    assert "--help" in err


@pytest.mark.parametrize("command", ["serve", "migrate", "mock", "check"])
def test_the_help_of_a_command_explains_every_option(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, _ = _usage(capsys, command, "--help")
    assert code == 0
    usage, _, rest = out.partition("options:")
    for option in set(re.findall(r"--[a-z-]+", usage)):
        assert re.search(rf"{option}( [A-Z]+)?\s+[a-z]", rest), f"{option} is not explained"


@pytest.mark.parametrize("arguments", [(), ("dance",), ("serve", "--port", "x")])
def test_invalid_arguments_exit_with_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = _usage(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "usage: python -m service" in err
