"""The ensembles file is read at start-up and after changes; an invalid change is ignored."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from service.ensembles.catalog import Catalog, EnsemblesError
from service.ensembles.watcher import EnsemblesFile
from tests._support.llm.scripted import CHECKS, DEFAULTS, skipping

SOLO = '[agents.a]\nmodel = "{model}"\n[ensembles.fanout]\nstrategy = "solo"\nagents = ["a"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ensembles.toml"
    _write(path, SOLO.format(model="first"))
    return path


def _write(path: Path, text: str) -> None:
    """Write a change that is seen even if the clock of the file system is coarse."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    later = max(path.stat().st_mtime_ns, before + 1_000_000)
    os.utime(path, ns=(later, later))


def _open(path: Path) -> EnsemblesFile:
    return EnsemblesFile(path, DEFAULTS, CHECKS)


def _model(catalog: Catalog) -> str:
    return catalog.agents["a"].model


def test_the_file_is_read_at_the_start(path: Path) -> None:
    assert _model(_open(path).catalog) == "first"


def test_the_error_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(EnsemblesError, match=r"nowhere\.toml: cannot be read"):
        _open(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EnsemblesError, match="cannot be read"):
        _open(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_file_may_come_from_windows(path: Path, encoding: str, newline: str) -> None:
    path.write_text(SOLO.format(model="grüße"), encoding, newline=newline)
    assert _model(_open(path).catalog) == "grüße"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_refused_by_its_encoding(path: Path, encoding: str) -> None:
    path.write_text(SOLO.format(model="grüße"), encoding)
    with pytest.raises(EnsemblesError, match="it is not UTF-8"):
        _open(path)


def test_a_fault_is_reported_with_the_path_of_the_file(path: Path) -> None:
    _write(path, SOLO.format(model="x") + "x = 1\n")
    with pytest.raises(EnsemblesError) as caught:
        _open(path)
    assert str(caught.value).startswith(f"{path}:6: ")


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    file = _open(path)
    catalog = file.catalog
    assert not file.reload_if_changed()
    assert file.catalog is catalog


def test_a_changed_file_is_used_after_the_next_check(path: Path) -> None:
    file = _open(path)
    _write(path, SOLO.format(model="second"))
    assert file.reload_if_changed()
    assert _model(file.catalog) == "second"


def test_after_an_invalid_change_the_previous_catalog_remains(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = _open(path)
    _write(path, "agents = 1")
    with caplog.at_level(logging.ERROR):
        assert not file.reload_if_changed()
    assert _model(file.catalog) == "first"
    assert f"{path}:1: " in caplog.text


def test_an_invalid_change_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = _open(path)
    _write(path, "agents = 1")
    for _ in range(3):
        file.reload_if_changed()
    assert len(caplog.records) == 1


def test_a_valid_change_after_an_invalid_one_is_used(path: Path) -> None:
    file = _open(path)
    for text in ("agents = 1", SOLO.format(model="third")):
        _write(path, text)
        file.reload_if_changed()
    assert _model(file.catalog) == "third"


def test_after_the_file_is_deleted_the_catalog_remains(path: Path) -> None:
    file = _open(path)
    path.unlink()
    assert not file.reload_if_changed()
    assert _model(file.catalog) == "first"


@skipping
async def test_a_valid_change_is_passed_on_within_seconds(path: Path) -> None:
    models: list[str] = []
    watching = asyncio.create_task(
        _open(path).watch(lambda catalog: models.append(_model(catalog)))
    )
    await asyncio.sleep(10)
    assert models == []
    _write(path, SOLO.format(model="second"))
    await asyncio.sleep(3)
    assert models == ["second"]
    watching.cancel()


@skipping
async def test_a_requested_reload_reads_an_unchanged_file(path: Path) -> None:
    file, seen = _open(path), list[Catalog]()
    watch = asyncio.create_task(file.watch(seen.append))
    await asyncio.sleep(0)
    file.request_reload()
    await asyncio.sleep(0.1)
    watch.cancel()
    assert [_model(catalog) for catalog in seen] == ["first"]
