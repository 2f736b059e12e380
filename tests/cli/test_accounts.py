"""The commands `users` and `keys`: their output, exit codes, and effects on the database."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from service.access.api_keys import parse_key
from service.cli.main import main

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, without settings and without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))


def _type(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with `--json` and return its output."""
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def _fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails and return its message."""
    capsys.readouterr()
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_on_a_fresh_machine_a_key_needs_a_user_and_the_message_names_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = _fail(capsys, "keys", "create", "--user", "alice", "--name", "laptop")
    assert "python -m service users add alice" in message
    assert _run(capsys, "users", "add", "alice", "--admin")["role"] == "admin"
    created = _run(capsys, "keys", "create", "--user", "alice", "--name", "laptop")
    key = parse_key(created["key"])
    assert key
    assert key.id == created["id"]


def test_a_key_is_printed_alone_so_that_it_can_be_piped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _run(capsys, "users", "add", "alice")
    options = ["--scopes", "run,read", "--expires", "30d", "--streams", "2"]
    assert main(["keys", "create", "--user", "Alice", "--name", "laptop", *options]) == 0
    captured = capsys.readouterr()
    key = parse_key(captured.out.strip())
    assert key
    assert "not shown again" in captured.err
    listed = _run(capsys, "keys", "list", "--user", "alice")["items"]
    assert [(each["id"], each["scopes"], each["limits"]) for each in listed] == [
        (key.id, ["read", "run"], {"streams": 2})
    ]
    assert key.text not in json.dumps(listed)
    assert key.text.encode() not in Path("data/service.db").read_bytes()


def test_keys_can_be_rotated_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    _run(capsys, "users", "add", "alice")
    first = _run(capsys, "keys", "create", "--user", "alice", "--name", "laptop")
    second = _run(capsys, "keys", "rotate", first["id"], "--grace", "1h")
    assert second["name"] == "laptop"
    by_id = {each["id"]: each for each in _run(capsys, "keys", "list")["items"]}
    assert by_id[first["id"]]["replaced_by"] == second["id"]
    assert _run(capsys, "keys", "revoke", second["key"])["revoked"]
    assert [each["id"] for each in _run(capsys, "keys", "list")["items"]] == [first["id"]]
    assert "no such key" in _fail(capsys, "keys", "revoke", second["id"])


def test_users_are_listed_as_a_table_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["users", "list"]) == 0
    assert "python -m service users add" in capsys.readouterr().out
    _type(monkeypatch, f"{PASSWORD}\n")
    _run(capsys, "users", "add", "alice", "--admin", "--password-stdin")
    _run(capsys, "users", "add", "bob", "--email", "bob@example.com", "--role", "viewer")
    assert main(["users", "list"]) == 0
    header, alice, bob = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["NAME", "ROLE", "EMAIL", "DISABLED"]
    assert alice.split()[:5] == ["alice", "admin", "-", "no", "yes"]
    assert bob.split()[:5] == ["bob", "viewer", "bob@example.com", "no", "no"]


def test_a_user_can_be_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(capsys, "users", "add", "alice")
    assert _run(capsys, "users", "role", "alice", "viewer")["role"] == "viewer"
    assert _run(capsys, "users", "disable", "alice")["disabled"] is True
    assert _run(capsys, "users", "enable", "alice")["disabled"] is False
    limits = ["--requests", "60/minute", "--cost-usd", "5/month"]
    expected = {"requests": "60/minute", "cost_usd": "5/month"}
    assert _run(capsys, "users", "limits", "alice", *limits)["limits"] == expected
    assert _run(capsys, "users", "limits", "alice", "--streams", "3")["limits"] == {
        **expected,
        "streams": 3,
    }
    assert _run(capsys, "users", "limits", "alice", "--none")["limits"] is None
    _type(monkeypatch, PASSWORD)
    assert _run(capsys, "users", "password", "alice", "--password-stdin")["has_password"]
    _type(monkeypatch, "")
    assert "needs --yes" in _fail(capsys, "users", "delete", "alice")
    assert _run(capsys, "users", "delete", "alice", "--yes")["deleted"]
    assert "no such user" in _fail(capsys, "users", "disable", "alice")


def test_the_last_administrator_stays(capsys: pytest.CaptureFixture[str]) -> None:
    _run(capsys, "users", "add", "alice", "--admin")
    for arguments in (
        ["role", "alice", "user"],
        ["disable", "alice"],
        ["delete", "alice", "--yes"],
    ):
        assert "last administrator" in _fail(capsys, "users", *arguments)
    assert _run(capsys, "users", "list")["items"][0]["disabled"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["users", "add", "bad name"], "name: must"),
        (["users", "add", "anonymous"], "reserved"),
        (["users", "add", "bob", "--email", "nonsense"], "email: must"),
        (["users", "add", "ALICE"], "Another user has this name"),
        (["users", "limits", "alice", "--requests", "60 per minute"], "must look like '60/minute'"),
        (["users", "password", "alice"], "--password-stdin"),
        (["users", "adopt", "bob"], "no such user"),
        (["users", "delete", "alice", "--yes", "--transfer-to", "alice"], "is the deleted user"),
        (["keys", "create", "--user", "alice", "--name", "x", "--expires", "2001-01-01"], "future"),
        (["keys", "rotate", "unknown"], "no such key"),
    ],
)
def test_a_wrong_value_is_a_sentence_and_exit_code_1(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(capsys, "users", "add", "alice")
    assert words in _fail(capsys, *arguments)


@pytest.mark.parametrize("text", ["", "short\n", "alice\n", "password123\n", "nul\0nulnul\n"])
def test_an_unsuitable_password_adds_no_user(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _type(monkeypatch, text)
    assert "password: " in _fail(capsys, "users", "add", "alice", "--password-stdin")
    assert _run(capsys, "users", "list")["items"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["users"],
        ["users", "unknown"],
        ["users", "role", "alice", "owner"],
        ["keys", "create", "--user", "alice"],
        ["keys", "create", "--user", "a", "--name", "b", "--scopes", "everything"],
        ["keys", "create", "--user", "a", "--name", "b", "--expires", "soon"],
    ],
)
def test_wrong_arguments_are_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_a_database_without_tables_is_not_migrated_unless_serve_would(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATE_ON_START", "false")
    assert main(["users", "list"]) == 2
    assert "python -m service migrate" in capsys.readouterr().err
    assert not Path("data").exists()


def test_an_invitation_leads_to_the_page_that_uses_it(capsys: pytest.CaptureFixture[str]) -> None:
    invite = _run(capsys, "users", "invite", "--role", "viewer", "--email", "a@example.com")
    assert invite["path"] == f"/web/register?invite={invite['invite']}"
    assert (invite["role"], invite["email"]) == ("viewer", "a@example.com")
    assert not stat.S_IMODE(Path("data/service.db").stat().st_mode) & stat.S_IWOTH
