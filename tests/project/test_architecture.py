"""Rules of the design that no other test enforces: layers, sizes, names and the request path."""

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

# The layer of each package; the longest matching name applies. A layer imports lower layers only.
LAYERS = {
    "telemetry": 0,
    "service.access": 0,
    "service": 1,
    "service.ensembles": 2,
    "service.redis": 2,
    "service.llm": 3,
    "service.mock_llm": 4,
    "service.store": 3,
    "service.strategies": 4,
    "service.accounts": 4,
    "service.limits": 4,
    "service.runs": 5,
    "service.evaluation": 6,
    "service.evaluation.questions": 3,  # the mock knows the answers of the sample
    "service.api": 6,
    "service.replay": 6,
    "service.pages": 7,
    "service.app": 8,
    "service.server": 9,
    "service.terminal": 9,
    "service.cli": 10,
    "service.__main__": 11,
}
MAX_LINES = 250
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
    """Return the modules that `module` imports, also inside functions."""
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
    fits = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    return max(fits, key=len)


def _ours(module: str) -> list[str]:
    return [name for name in _imports(module) if name.split(".")[0] in {"service", "telemetry"}]


# --- layers ---


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_its_own_package_and_lower_layers_only(module: str) -> None:
    area = _area(module)
    for other in _ours(module):
        assert _area(other) == area or LAYERS[_area(other)] < LAYERS[area], other


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("telemetry")])
def test_telemetry_does_not_import_the_service(module: str) -> None:
    assert not [name for name in _imports(module) if name.split(".")[0] == "service"]


def test_the_lowest_layer_of_the_service_imports_no_io_library() -> None:
    io = {"asyncio", "aiohttp", "httpx", "quart", "socket", "hypercorn", "subprocess"}
    pure = [name for name in MODULES if _area(name) == "service" and name != "service.coalescing"]
    assert not {name for name in pure if io & {each.split(".")[0] for each in _imports(name)}}


def test_only_the_apis_and_the_pages_import_quart() -> None:
    users = {name for name in MODULES if "quart" in {each.split(".")[0] for each in _imports(name)}}
    assert {_area(name) for name in users} == {"service.api", "service.pages"}


def test_only_clients_of_other_servers_import_an_http_client() -> None:
    for library in ("httpx", "aiohttp"):
        users = {_area(name) for name in MODULES if library in set(_imports(name))}
        # Accounts fetch the public keys of an issuer of tokens.
        allowed = {
            "service.llm",
            "service.mock_llm",
            "service.accounts",
            "service.app",
            "service.terminal",
            "telemetry",
        }
        assert users <= allowed


def test_only_the_store_imports_a_database_library() -> None:
    for library in ("sqlalchemy", "aiosqlite", "asyncpg", "alembic"):
        users = {
            _area(name)
            for name in MODULES
            if library in {each.split(".")[0] for each in _imports(name)}
        }
        assert users <= {"service.store"}


# --- owners ---

# Modules that may create a statement which `Scope` has not restricted to one owner, and why.
UNSCOPED = {
    "service.store.scope": "it restricts the others",
    "service.store.schema": "the conditions of its indexes",
    "service.store.journal.statements": "each row names its owner; a commit has rows of many",
    "service.store.audit.log": "the audit log has an actor, and is read by admins",
    "service.store.audit.verify": "the audit log has an actor, and is read by admins",
    "service.store.budgets.statements": "budgets belong to the subjects of rules",
    "service.store.usage.report": "sums of one owner, or of all for admins",
    "service.store.feedback.report": "sums of one owner, or of all for admins",
    "service.store.agents.reader": "runs of one owner, or of all for an operator",
    "service.store.workers": "the service's own view of all runs",
    "service.store.call_history": "times of all calls, without texts",
    "service.store.accounts.credentials": "they decide who the owner is",
    "service.store.accounts.changes": "the counter of all changes to accounts",
    "service.store.accounts.users": "users are the owners",
    "service.store.accounts.admins": "it counts administrators",
    "service.store.accounts.invites": "an invitation has no owner yet",
    "service.store.accounts.ownership": "it copies conversations from one owner to another",
    "service.store.accounts.sessions": "a session is found by its token",
    "service.store.accounts.keys": "a key names its user; administrators manage all",
    "service.store.accounts.attempts": "attempts to log in have no owner yet",
    "service.store.revisions": "the version of the tables has no owner",
    "service.store.migrate": "a lock has no owner",
    "service.store.connections.engines": "BEGIN has no owner",
    "service.store.connections.row_security": "roles have no owner",
    "service.store.connections.sqlite": "a PRAGMA has no owner",
    "service.store.search.fts5": "the owner is a term of every search; maintenance of the index",
    "service.store.search.tsvector": "the owner is a condition of every search",
}
_SQLALCHEMY = {"sa", "sqlalchemy", "sqlite", "postgresql"}
_STATEMENTS = {"select", "insert", "update", "delete", "text", "exec_driver_sql"}


def _creates_statements(module: str) -> bool:
    """Return whether a module calls `sa.select` and the like, or passes SQL text."""
    calls = [node.func for node in ast.walk(_tree(module)) if isinstance(node, ast.Call)]
    named = {call.id for call in calls if isinstance(call, ast.Name)}
    of_a_library = {
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute)
        and (call.attr == "exec_driver_sql" or ast.unparse(call.value) in _SQLALCHEMY)
    }
    return bool(_STATEMENTS & (named | of_a_library))


def test_only_listed_modules_create_statements_without_an_owner() -> None:
    store = [name for name in MODULES if _area(name) == "service.store"]
    creators = {name for name in store if _creates_statements(name) and ".migrations." not in name}
    assert creators == set(UNSCOPED)


# --- migrations ---


def test_the_migrations_are_one_line_in_the_order_of_their_numbers() -> None:
    links: list[tuple[str | None, str]] = []
    for module in (name for name in MODULES if ".migrations.versions." in name):
        values = {
            ast.unparse(node.targets[0]): ast.literal_eval(node.value)
            for node in _tree(module).body
            if isinstance(node, ast.Assign) and "revision" in ast.unparse(node.targets[0])
        }
        assert module.rpartition(".")[2][:4] == values["revision"]
        links.append((values["down_revision"], values["revision"]))
    numbers = [number for _, number in links]
    assert links == list(zip([None, *numbers[:-1]], numbers, strict=True))


# --- size ---


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    lines = len(_path(module).read_text("utf-8").splitlines())
    assert lines <= MAX_LINES or module in MAY_BE_LONGER


def test_every_listed_long_module_is_long() -> None:
    long = {name for name in MODULES if len(_path(name).read_text().splitlines()) > MAX_LINES}
    assert set(MAY_BE_LONGER) <= long


# --- folders, names and prose ---

MAX_LOOSE_MODULES = 12  # directly in service/
_QUESTION = re.compile(r"(What|Which|How|Who|Whose|Why)\b")


def test_few_modules_lie_directly_in_the_service() -> None:
    loose = [name for name in MODULES if name.count(".") == 1 and name.startswith("service.")]
    loose = [name for name in loose if not name.endswith("__init__")]
    assert len(loose) <= MAX_LOOSE_MODULES


def test_each_class_name_is_used_once() -> None:
    names = Counter(
        node.name
        for module in MODULES
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ClassDef)
    )
    assert not {name: count for name, count in names.items() if count > 1}


def test_no_docstring_begins_with_a_question_word() -> None:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    questions = [
        (module, text)
        for module in MODULES
        for node in ast.walk(_tree(module))
        if isinstance(node, documented) and (text := ast.get_docstring(node))
        if _QUESTION.match(text)
    ]
    assert questions == []


MAX_MODULES = 16  # in a folder, `__init__.py` included
_MIGRATIONS = "service.store.migrations.versions"  # one module a change, for all times


def _test_modules() -> list[str]:
    found = (ROOT / "tests").rglob("*.py")
    ours = (path for path in found if "node_modules" not in path.parts)
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ours)


def test_no_folder_has_more_than_sixteen_modules() -> None:
    folders = Counter(name.rpartition(".")[0] for name in (*MODULES, *_test_modules()))
    del folders[_MIGRATIONS]
    assert not {name: count for name, count in folders.items() if count > MAX_MODULES}


def test_no_test_module_imports_a_test_module_or_a_conftest() -> None:
    """Code that several of them need is in tests/_support, in a module named for its purpose."""
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
    assert set(made) == {"service.strategies.fanout"}


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


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith("service.cli.")]
)
def test_only_the_command_line_prints(module: str) -> None:
    called = {node.id for node in ast.walk(_tree(module)) if isinstance(node, ast.Name)}
    assert "print" not in called


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("service")])
def test_the_service_assigns_no_global(module: str) -> None:
    assert not [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Global)]


# --- the size of each API ---

# The modules of each API alone, and their maximum number of lines.
APIS: dict[str, tuple[int, set[str]]] = {
    "/api/process": (400, {"runs.process"}),
    "chat": (400, {"chat.chat", "chat.websocket"}),
    "text stream": (150, {"text.stream"}),
    "sessions": (400, {"sessions.ask", "sessions.sessions"}),
    "chat completions": (150, {"openai.chat_completions"}),
    "responses": (
        1_500,
        {
            "openai.responses.routes",
            "openai.responses.items",
            "openai.responses.response",
            "openai.responses.output",
            "openai.responses.parts",
            "openai.responses.previous",
            "openai.responses.request",
            "openai.responses.schemas",
        },
    ),
}
# Responses use the models and the stream format of chat completions.
_IMPORTS = {("responses", "chat completions")}


@pytest.mark.parametrize("api", APIS)
def test_an_api_is_small_and_imports_no_other_api(api: str) -> None:
    max_lines, own = APIS[api]
    modules = [f"service.api.{name}" for name in own]
    assert sum(len(_path(name).read_text("utf-8").splitlines()) for name in modules) <= max_lines
    imported = {name for module in modules for name in _imports(module)}
    for other, (_, theirs) in APIS.items():
        if other != api and (api, other) not in _IMPORTS:
            assert not imported & {f"service.api.{name}" for name in theirs}


# --- facts stated in two places ---


def test_the_version_equals_the_package_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == VERSION


def test_there_is_a_sample_of_every_event() -> None:
    assert [type(event) for event in SAMPLES] == list(get_args(Event))


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_can_be_encoded(event: Event) -> None:
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
