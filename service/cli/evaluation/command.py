"""The command `evaluate`: compares ensembles with their members on a file of questions."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Mapping
from typing import Final

import uvloop

from service.access.principal import ANONYMOUS, Principal
from service.app import Services, create_app
from service.cli.evaluation.interrupts import stopping
from service.cli.evaluation.plan import PlanError, find_own_ensembles, make_plan
from service.cli.evaluation.progress import show_progress
from service.cli.evaluation.report import format_report, write_files
from service.cli.parser import program_name
from service.ensembles.catalog import Catalog
from service.errors import StorageUnavailable
from service.evaluation.results import StopReason
from service.evaluation.running.executor import ServiceParts
from service.evaluation.running.halt import Halt
from service.evaluation.running.session import EvaluationPlan, SessionResult, run_evaluation
from service.evaluation.running.state_file import StateError
from service.settings import Settings, SettingsError
from service.store.accounts.users import UserStore
from service.store.migrate import check, migrate
from service.store.store import Store

EXIT_CODES: Final[Mapping[StopReason, int]] = {"failed": 1, "budget": 3, "interrupted": 130}
EXIT_USAGE: Final = 2
EXIT_UNANSWERED: Final = 4  # everything was asked, but model servers failed


def evaluate(
    options: argparse.Namespace,
    settings: Settings,
    variables: Mapping[str, str],
    catalog: Catalog,
) -> int:
    """Run the command and return its exit code. Raises SettingsError."""
    try:
        plan = make_plan(options, settings, catalog)
        _print_choice(options, settings, plan)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(_run(options, settings, variables, plan))
    except (PlanError, StateError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except StorageUnavailable as error:
        print(error, file=sys.stderr)
        return EXIT_CODES["failed"]
    except asyncio.CancelledError:
        _print_continuation(options, "The answers in progress were cancelled.")
        return EXIT_CODES["interrupted"]
    code = _end(result, plan, options)
    try:
        print(format_report(result.evaluation, options.format), flush=True)
    except BrokenPipeError:  # `| head` has read enough; the files have everything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _print_choice(options: argparse.Namespace, settings: Settings, plan: EvaluationPlan) -> None:
    """Print the ensembles and the judge that the user has not named."""
    if options.ensembles is not None:
        return
    names = ", ".join(each.name for each in plan.entrants.ensembles)
    source = "the ensembles file, by default"
    if find_own_ensembles(options, settings):
        source = "the sample's own file, with the mock"
    judge = f"; judge: {plan.judge.name}" if plan.judge else ""
    print(f"Ensembles: {names}{judge}, of {source}. --ensembles names others.", file=sys.stderr)


def _end(result: SessionResult, plan: EvaluationPlan, options: argparse.Namespace) -> int:
    """Write the files, print how an incomplete evaluation continues; return the exit code."""
    try:
        write_files(result.evaluation, plan.chosen_folder)
    except OSError as error:
        print(f"The report cannot be written: {error.strerror or error}.", file=sys.stderr)
        return EXIT_CODES["failed"]
    print(f"The report and the plot are in {plan.chosen_folder}.", file=sys.stderr)
    reason = result.evaluation.stopped
    if reason is not None:
        with_more = " with a larger budget" if reason == "budget" else ""
        _print_continuation(options, result.message, with_more)
        return EXIT_CODES[reason]
    if result.unanswered:
        _print_continuation(options, f"{result.unanswered} runs failed at the model servers.")
        return EXIT_UNANSWERED
    return 0


def _print_continuation(options: argparse.Namespace, reason: str, condition: str = "") -> None:
    command = f"{program_name()} {shlex.join(options.arguments)}"
    print(f"{reason} The same command continues{condition}:\n  {command}", file=sys.stderr)


async def _run(
    options: argparse.Namespace,
    settings: Settings,
    variables: Mapping[str, str],
    plan: EvaluationPlan,
) -> SessionResult:
    if settings.migrates_on_start:
        await migrate(settings.database)
    elif fault := await check(settings.database, settings.store_timeout_s):
        raise SettingsError(fault)
    services, halt = create_app(settings, variables), Halt()
    with stopping(halt):
        async with services.lifespan:
            principal = await _find_owner(options.user, settings, services.store)
            parts = _make_parts(services, principal)
            with show_progress(sys.stderr) as on_progress:
                return await run_evaluation(plan, parts, halt, on_progress)


def _make_parts(services: Services, principal: Principal) -> ServiceParts:
    return ServiceParts(
        runs=services.runs,
        store=services.store.runs,
        cache=services.store.evaluations,
        budgets=services.budgets,
        catalog=services.ensembles.catalog,
        principal=principal,
    )


async def _find_owner(name: str | None, settings: Settings, store: Store) -> Principal:
    """Return the owner of the runs. Raises SettingsError without a known user."""
    if name is None:
        if settings.auth == "required":
            raise SettingsError("--user: with AUTH=required the runs need an owner; name a user.")
        return ANONYMOUS
    user = await UserStore(store.database).find_by_name(name)
    if user is None:
        raise SettingsError(f"--user: there is no user named {name}.")
    return Principal(owner=user.id, user=user.name, role=user.role, user_limits=user.limits)
