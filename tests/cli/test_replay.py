"""The commands `export` and `replay`: each mistake of the user is one line and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli.main import main
from tests._support.runs.exports import RUN_ID, a_document, a_recorded_call


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/runs.sqlite")
    (tmp_path / "run.json").write_text(json.dumps(a_document(a_recorded_call())))
    (tmp_path / "broken.json").write_bytes(b'{"format": "llm-sse-service.run", ')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["replay", "missing.json"], "missing.json: No such file"),
        (["replay", "."], ".: Is a directory"),
        (["replay", "broken.json"], "broken.json: not a complete exported run"),
        (["replay", "a\0b"], "a\\u0000b: "),
        (["replay", "x" * 5_000], "File name too long"),
        (["replay", RUN_ID], "There is no such run in this database."),
        (["replay", "run.json", "run.json", "--events"], "take one run"),
        (["replay", "run.json", "--write-ensembles", "x"], "no usable ensemble"),
        (["export", RUN_ID], "There is no such run in this database."),
        (["export", "x\0y"], "There is no such run in this database."),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert reason in printed.err
    assert printed.err.rstrip("\n").isprintable()


@pytest.mark.parametrize("option", ["--speed=-1", "--speed=nan", "--speed=x", "--port=70000"])
def test_an_impossible_option_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "run.json", option])
    assert "must be a" in capsys.readouterr().err


def test_the_event_stream_is_printed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["replay", "run.json", "--events", "--speed", "100"]) == 0
    printed = capfdbinary.readouterr().out
    assert printed.startswith(f"id: {RUN_ID}-1\ndata: {{".encode())
    assert printed.endswith(b'"cost": 1e-05}\n\n')
