"""Every example in the documentation runs, against a service with the defaults of `make run`.

Fences with the language sh, python or js are run, except those after a comment
`<!-- not run: reason -->`. A response (json, or the `data:` lines of a stream) follows a comment
`<!-- shape: Name -->` and must match the component of that name in `/openapi.json`; with
`, in part` some fields may be left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator

from service.ensembles.agents import AgentDefaults
from service.ensembles.catalog import parse_ensembles
from service.limits.parsing import parse_rules
from service.strategies import STRATEGIES
from tests._support.missing import miss
from tests._support.paths import ROOT
from tests._support.servers.processes import Process, run_server
from tests._support.servers.programs import NODE_FOLDER, node

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVED_AT = "http://localhost:8080"
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_RUN = {"sh", "python", "js"}
_NOT_RUN = {
    "json",
    "",
    "toml",
    "yaml",
    "mermaid",
    "nginx",
    "sql",
}  # no language: a drawing, or the lines of a stream
_SHORTENED = re.compile(r"^…\n", re.M)
_A_RUN = re.compile(r"run_01a1…")
_LAST_EVENT = 45  # later than the positions in the examples
_TIMEOUT_S = 100.0


@dataclass(frozen=True)
class Fence:
    """A fenced block on a page, and the comment before it."""

    where: str
    mark: str
    language: str
    text: str

    @property
    def is_run(self) -> bool:
        return self.language in _RUN and not self.mark.startswith("not run: ")


def _find_fences() -> Iterator[Fence]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start("language")) + 1
            where = f"{page.relative_to(ROOT)}:{line}"
            yield Fence(where, match["mark"] or "", match["language"], match["text"])


FENCES = list(_find_fences())
EXAMPLES = [fence for fence in FENCES if fence.is_run]
SHAPES = [fence for fence in FENCES if fence.mark.startswith("shape: ")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with default settings: the mock, `ensembles.toml`, a database in its folder.

    It reads no credential, so `$KEY` in the examples may have any value.
    """
    folder = tmp_path_factory.mktemp("service")
    ensembles = str(ROOT / "ensembles.toml")
    with run_server(folder, "serve", "--port", "0", ENSEMBLES_FILE=ensembles) as process:
        yield process


Results = Mapping[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def results(service: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """The result of each example; all of them run at once, because they mostly wait."""
    for program in ("bash", "curl", "jq"):
        if not shutil.which(program):
            miss(f"no {program}: install the system's package")
    folder = tmp_path_factory.mktemp("examples")
    with ThreadPoolExecutor(len(EXAMPLES)) as threads:
        yield {
            fence.where: threads.submit(_run_example, fence, service.url, folder / str(number))
            for number, fence in enumerate(EXAMPLES)
        }


def _run_example(fence: Fence, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    text = fence.text
    if _A_RUN.search(text):
        text = _A_RUN.sub(_create_cancelled_run(url), text)
    text = text.replace(SERVED_AT, url)
    return subprocess.run(
        _build_command(fence.language, text, folder),
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "XDG_DATA_HOME": str(folder / "data"),
            "KEY": "not-read",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_TIMEOUT_S,
        check=False,
    )


def _create_cancelled_run(url: str) -> str:
    """Return the id of a run that was cancelled midway."""
    body = {"message": "Explain tides", "message_id": "m"}
    with httpx.stream("POST", f"{url}/api/process", json=body, timeout=_TIMEOUT_S) as answer:
        run_id = answer.headers["X-Run-Id"]
        for line in answer.iter_lines():
            if line == f"id: {run_id}-{_LAST_EVENT}":
                httpx.post(f"{url}/api/runs/{run_id}/cancel")
        return str(run_id)


def _write_program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)


def _build_command(language: str, text: str, folder: Path) -> list[str]:
    if language == "sh":
        # An error response must fail the example.
        _write_program(folder / "curl", f"{shutil.which('curl')} --fail-with-body")
        _write_program(folder / "python", sys.executable)
        return ["bash", "-euo", "pipefail", "-c", text]
    if language == "python":
        return [sys.executable, "-c", text]
    (folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    (folder / "example.mjs").write_text(text, "utf-8")
    return [node(), "example.mjs"]


@pytest.mark.parametrize("fence", EXAMPLES, ids=lambda fence: fence.where)
def test_an_example_runs(fence: Fence, results: Results) -> None:
    done = results[fence.where].result()
    assert done.returncode == 0, f"{fence.text}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip()


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.where)
def test_a_fence_has_a_language_or_a_reason_not_to_run(fence: Fence) -> None:
    assert fence.language in _RUN | _NOT_RUN
    if fence.language == "json":
        assert fence.mark.startswith("shape: ")
    if fence.language == "":
        looks_like_commands = re.search(r"^(\w+=\S+ )*(curl|make|python) ", fence.text, re.M)
        assert not looks_like_commands, "add the language: ```sh"
        assert fence.mark or "data: " not in fence.text


@pytest.mark.parametrize("fence", SHAPES, ids=lambda fence: fence.where)
def test_a_response_in_the_documentation_matches_its_component(
    fence: Fence, service: Process
) -> None:
    name, _, part = fence.mark.removeprefix("shape: ").partition(", ")
    document = httpx.get(f"{service.url}/openapi.json").json()
    schemas = {
        each: _forbid_other_fields(schema, is_complete=part != "in part")
        for each, schema in document["components"]["schemas"].items()
    }
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    for response in _parse_json(fence):
        errors = [error.message for error in OAS31Validator(schema).iter_errors(response)]
        assert not errors


_TOML = [each for each in FENCES if each.language == "toml"]
_OF_RULES = [each for each in _TOML if each.text.startswith("[[rules]]")]


@pytest.mark.parametrize("fence", _OF_RULES, ids=lambda fence: fence.where)
def test_a_toml_example_of_rules_is_a_valid_limits_file(fence: Fence) -> None:
    assert parse_rules(fence.text, source="limits.toml").rules


@pytest.mark.parametrize(
    "fence", [each for each in _TOML if each not in _OF_RULES], ids=lambda fence: fence.where
)
def test_a_toml_example_can_be_added_at_the_end_of_the_ensembles_file(fence: Fence) -> None:
    file = f"{(ROOT / 'ensembles.toml').read_text('utf-8')}\n{fence.text}"
    defaults = AgentDefaults(model="m", base_url="http://localhost/v1", max_tokens=100)
    checks = {name: strategy.check for name, strategy in STRATEGIES.items()}
    catalog = parse_ensembles(file, source="ensembles.toml", defaults=defaults, checks=checks)
    tables = tomllib.loads(fence.text)
    for name, ensemble in tables.get("ensembles", {}).items():
        assert catalog.ensembles[name].strategy == ensemble.get("strategy", "synthesize")
    for name, agent in tables.get("agents", {}).items():
        assert catalog.agents[name].model == agent.get("model", "m")
        assert catalog.agents[name].prompt


@pytest.mark.parametrize(
    "fence", [each for each in EXAMPLES if each.language == "sh"], ids=lambda fence: fence.where
)
def test_a_command_has_no_placeholder(fence: Fence) -> None:
    assert not re.search(r"<\w+>", fence.text)


def test_examples_of_every_language_are_found() -> None:
    assert {fence.language for fence in EXAMPLES} == _RUN
    assert SHAPES


def _forbid_other_fields(schema: Mapping[str, Any], *, is_complete: bool) -> dict[str, Any]:
    """Return a schema that accepts no other fields than those it names."""
    if "properties" not in schema:
        return dict(schema)
    required = schema.get("required", []) if is_complete else []
    return {**schema, "additionalProperties": False, "required": required}


def _parse_json(fence: Fence) -> list[Any]:
    if fence.language == "json":
        return [json.loads(fence.text)]
    lines = _SHORTENED.sub("", fence.text).splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]
