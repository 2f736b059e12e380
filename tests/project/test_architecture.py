"""The rules of the design that code could break without a test failing elsewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from service.api.runs.event_json import encoder
from service.events import Event
from service.strategies import STRATEGIES
from service.version import VERSION
from tests._support.paths import ROOT
from tests._support.runs.event_samples import SAMPLES
from tests._support.runs.service import a_run

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("service", "telemetry")
    for path in (ROOT / package).rglob("*.py")
)

# Who stands on which floor: the longest name that fits counts. A floor imports lower floors only.
FLOORS = {
    "telemetry": 0,
    "service": 1,
    "service.ensembles": 2,
    "service.llm": 3,
    "service.mock_llm": 4,
    "service.store": 3,
    "service.strategies": 4,
    "service.runs": 5,
    "service.api": 6,
    "service.app": 7,
    "service.server": 8,
    "service.cli": 9,
    "service.__main__": 10,
}
MOST_LINES = 250
MAY_BE_LONGER = {  # module: why
    "telemetry.semconv": "one table of every name",
}


def _path(module: str) -> Path:
    return (ROOT / module.replace(".", "/")).with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text("utf-8"))


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Return what `module` imports, anywhere in it; from a package, the module that is meant."""
    return tuple(_find_imports(module))


def _find_imports(module: str) -> Iterator[str]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def _area(module: str) -> str:
    fits = [name for name in FLOORS if module == name or module.startswith(f"{name}.")]
    return max(fits, key=len)


def _ours(module: str) -> list[str]:
    return [name for name in _imports(module) if name.split(".")[0] in {"service", "telemetry"}]


# --- floors ---


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_its_own_area_and_lower_floors_only(module: str) -> None:
    area = _area(module)
    for other in _ours(module):
        assert (
            _area(other) == area
            or FLOORS[_area(other)] < FLOORS[area]
            or (FLOORS[_area(other)] == FLOORS[area] == FLOORS["service.app"])
        ), f"{module} imports {other}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("telemetry")])
def test_telemetry_does_not_know_the_service(module: str) -> None:
    assert not [name for name in _imports(module) if name.split(".")[0] == "service"]


def test_the_base_of_the_service_does_no_io_but_reading_settings() -> None:
    io = {"asyncio", "aiohttp", "httpx", "quart", "socket", "hypercorn", "subprocess"}
    pure = [name for name in MODULES if _area(name) == "service" and name != "service.coalescing"]
    assert not {name for name in pure if io & {each.split(".")[0] for each in _imports(name)}}


def test_only_faces_and_the_composition_root_know_quart() -> None:
    knows = {name for name in MODULES if "quart" in {each.split(".")[0] for each in _imports(name)}}
    assert {_area(name) for name in knows} == {"service.api", "service.app"}


def test_only_the_llm_floor_and_the_composition_root_know_the_http_client() -> None:
    for library in ("httpx", "aiohttp"):
        knows = {_area(name) for name in MODULES if library in set(_imports(name))}
        assert knows <= {"service.llm", "service.mock_llm", "service.app", "telemetry"}


def test_only_the_store_knows_the_database() -> None:
    for library in ("sqlalchemy", "aiosqlite", "asyncpg", "alembic"):
        knows = {
            _area(name)
            for name in MODULES
            if library in {each.split(".")[0] for each in _imports(name)}
        }
        assert knows <= {"service.store"}


# --- owners ---

# Who may make a statement that `Scope` has not narrowed to one owner, and why.
UNSCOPED = {
    "service.store.scope": "it is what narrows the others",
    "service.store.schema": "the conditions of its indexes",
    "service.store.journal.statements": "each row names its owner; many owners' in one commit",
    "service.store.workers": "the service's own view of all runs",
    "service.store.revisions": "the version of the tables is nobody's",
    "service.store.migrate": "a lock is nobody's",
    "service.store.database": "a PRAGMA is nobody's",
    "service.store.connections.engines": "BEGIN is nobody's",
    "service.store.search.fts5": "the owner is a term of every search; the index's upkeep",
    "service.store.search.tsvector": "the owner is a condition of every search",
}
_SQLALCHEMY = {"sa", "sqlalchemy", "sqlite", "postgresql"}
_MAKES = {"select", "insert", "update", "delete", "text", "exec_driver_sql"}


def _makes_statements(module: str) -> bool:
    """Whether it calls `sa.select` and the like, or hands SQL to a connection as it is."""
    calls = [node.func for node in ast.walk(_tree(module)) if isinstance(node, ast.Call)]
    named = {call.id for call in calls if isinstance(call, ast.Name)}
    of_a_library = {
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute)
        and (call.attr == "exec_driver_sql" or ast.unparse(call.value) in _SQLALCHEMY)
    }
    return bool(_MAKES & (named | of_a_library))


def test_statements_without_an_owner_are_made_in_known_places_only() -> None:
    store = [name for name in MODULES if _area(name) == "service.store"]
    made = {name for name in store if _makes_statements(name) and ".migrations." not in name}
    assert made == set(UNSCOPED)


# --- size ---


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    lines = len(_path(module).read_text("utf-8").splitlines())
    assert lines <= MOST_LINES or module in MAY_BE_LONGER


def test_no_exception_is_granted_in_vain() -> None:
    long = {name for name in MODULES if len(_path(name).read_text().splitlines()) > MOST_LINES}
    assert set(MAY_BE_LONGER) <= long


# --- folders and tests ---

MOST_MODULES = 16  # in a folder, `__init__.py` included


def _test_modules() -> list[str]:
    found = (ROOT / "tests").rglob("*.py")
    ours = (path for path in found if "node_modules" not in path.parts)
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ours)


def test_no_folder_holds_more_modules_than_a_reader_can_survey() -> None:
    folders = Counter(name.rpartition(".")[0] for name in (*MODULES, *_test_modules()))
    assert not {name: count for name, count in folders.items() if count > MOST_MODULES}


def test_no_test_module_imports_a_test_module_or_a_conftest() -> None:
    """What several of them need is in tests/_support, in a module named for its purpose."""
    modules = set(_test_modules())
    wrong = [
        (importer, imported)
        for importer in modules
        for imported in _imported_by_tests(importer, modules)
        if imported.startswith("tests.") and not imported.startswith("tests._support")
    ]
    assert wrong == []


def test_every_helper_module_of_the_tests_has_a_line_in_their_readme() -> None:
    readme = (ROOT / "tests" / "README.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\S+\.py)` \|", readme, re.MULTILINE)
    support = ROOT / "tests" / "_support"
    there = {path.relative_to(support).as_posix() for path in support.rglob("*.py")}
    assert sorted(listed) == sorted(name for name in there if not name.endswith("__init__.py"))


def _imported_by_tests(importer: str, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(_tree(importer)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


# --- the request path ---


def _serving() -> list[str]:
    return [name for name in MODULES if not name.startswith("service.mock_llm.")]


def test_there_is_one_task_group() -> None:
    made = [
        name
        for name in _serving()
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.Attribute) and node.attr == "TaskGroup"
    ]
    assert made == ["service.strategies.fanout"]


def _own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions inside it."""
    queue: list[ast.AST] = list(function.body)
    while queue:
        node = queue.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            queue += ast.iter_child_nodes(node)


def test_there_is_one_async_generator() -> None:
    generators = [
        f"{name}.{node.name}"
        for name in _serving()
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.AsyncFunctionDef)
        and any(isinstance(each, ast.Yield | ast.YieldFrom) for each in _own_nodes(node))
    ]
    assert generators == ["service.api.http.sse._body"]


@pytest.mark.parametrize("module", [name for name in MODULES if name != "service.cli.main"])
def test_only_the_command_line_prints(module: str) -> None:
    called = {node.id for node in ast.walk(_tree(module)) if isinstance(node, ast.Name)}
    assert "print" not in called


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("service")])
def test_the_service_changes_no_global(module: str) -> None:
    assert not [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Global)]


# --- the size of each API ---

# What belongs to one API alone, and how many lines that may be.
APIS: dict[str, tuple[int, set[str]]] = {
    "/api/process": (400, {"runs.process"}),
    "chat": (400, {"chat.chat", "chat.websocket"}),
    "text stream": (150, {"text.stream"}),
    "sessions": (400, {"sessions.ask", "sessions.sessions"}),
    "chat completions": (150, {"openai.chat_completions"}),
    "responses": (
        1_300,
        {
            "openai.responses.routes",
            "openai.responses.items",
            "openai.responses.response",
            "openai.responses.output",
            "openai.responses.previous",
            "openai.responses.request",
            "openai.responses.schemas",
        },
    ),
}
# Responses are asked for as models, and sent, in the way of chat completions.
_IMPORTS = {("responses", "chat completions")}


@pytest.mark.parametrize("api", APIS)
def test_an_api_is_small_and_imports_no_other_api(api: str) -> None:
    most, own = APIS[api]
    modules = [f"service.api.{name}" for name in own]
    assert sum(len(_path(name).read_text("utf-8").splitlines()) for name in modules) <= most
    imported = {name for module in modules for name in _imports(module)}
    for other, (_, theirs) in APIS.items():
        if other != api and (api, other) not in _IMPORTS:
            assert not imported & {f"service.api.{name}" for name in theirs}


# --- what is written down twice ---


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == VERSION


def test_there_is_a_sample_of_every_event() -> None:
    assert [type(event) for event in SAMPLES] == list(get_args(Event))


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_can_be_written_to_the_wire(event: Event) -> None:
    written = encoder(a_run())(7, event)
    assert f'"type": "{event.type}"' in written
    assert ('"final": true' in written) == event.final


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_is_documented(event: Event) -> None:
    assert re.search(
        rf"\b{event.type}\b", (ROOT / "docs" / "api" / "process.md").read_text("utf-8")
    )


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_is_named_in_the_shipped_ensembles_file(name: str) -> None:
    assert f'"{name}"' in (ROOT / "ensembles.toml").read_text("utf-8")
