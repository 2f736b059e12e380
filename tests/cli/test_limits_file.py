"""`check` and the start report faults of `limits.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.main import main


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = '[agents.a]\n[ensembles.fanout]\nstrategy = "solo"\nagents = ["a"]\n'
    (tmp_path / "ensembles.toml").write_text(agent)
    monkeypatch.chdir(tmp_path)


def test_check_counts_the_rules_of_a_valid_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("limits.toml").write_text('[[rules]]\nrequests = "60/minute"\n')
    assert main(["check"]) == 0
    assert "limits.toml is valid: 1 rules" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_fault_is_reported_with_its_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("limits.toml").write_text('[[rules]]\nstreams = 1\nrequests = "sixty"\n')
    assert main([command]) == 2
    assert capsys.readouterr().err.startswith("limits.toml:3: rules.0.requests: must look like")


def test_the_service_works_without_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "limits.toml" not in capsys.readouterr().out
