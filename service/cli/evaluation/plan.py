"""The plan of an evaluation from the arguments, refused before any request if it is invalid."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.ensembles.agents import Agent
from service.ensembles.catalog import AGENT_PREFIX, Catalog
from service.errors import RequestError
from service.evaluation.panels.entrants import Entrants, choose_entrants
from service.evaluation.questions.question import Question, Selection
from service.evaluation.questions.reader import SAMPLE_FILE, QuestionsFileError, read_questions
from service.evaluation.questions.sample import SAMPLE_ENSEMBLES
from service.evaluation.running.session import EvaluationPlan
from service.settings import Settings

DEFAULT_JUDGE: Final = "judge"


class PlanError(Exception):
    """An argument or a questions file that is refused; the message names it."""


def make_plan(options: argparse.Namespace, settings: Settings, catalog: Catalog) -> EvaluationPlan:
    """Return the plan of the command. Raises PlanError."""
    path: Path = SAMPLE_FILE if options.sample else options.questions
    questions = _read_questions(path, options)
    try:
        entrants = choose_entrants(catalog, _choose_names(options, settings, catalog))
    except RequestError as error:
        raise PlanError(f"--ensembles: {error.message}") from error
    judge = _find_judge(options.judge, questions, catalog)
    if options.max_cost_usd is not None:
        _check_prices(entrants, judge, catalog)
    return EvaluationPlan(
        questions=questions,
        questions_file="sample" if options.sample else str(path),
        entrants=entrants,
        judge=judge,
        seed=options.seed,
        concurrency=min(options.concurrency, settings.max_open_runs),
        max_cost_usd=options.max_cost_usd,
        is_fresh=options.fresh,
        has_equal_cost=not options.no_equal_cost,
        folder=options.out,
    )


def find_own_ensembles(options: argparse.Namespace, settings: Settings) -> Path | None:
    """Return the ensembles file of the sample, if it is used instead of the configured one.

    It has agents of the mock only, and is used where no ensembles of the user are named.
    """
    is_used = options.sample and options.ensembles is None and settings.use_llm_mock
    return SAMPLE_ENSEMBLES if is_used else None


def _choose_names(
    options: argparse.Namespace, settings: Settings, catalog: Catalog
) -> Sequence[str]:
    """Return the named ensembles, else all of the sample's own file, or the default one."""
    if options.ensembles is not None:
        names: Sequence[str] = options.ensembles
        return names
    if find_own_ensembles(options, settings):
        return list(catalog.ensembles)
    return [catalog.default]


def _read_questions(path: Path, options: argparse.Namespace) -> tuple[Question, ...]:
    try:
        questions = read_questions(path)
    except QuestionsFileError as error:
        raise PlanError(str(error)) from error
    topics = frozenset(options.topic or ())
    if unknown := topics - {each.topic for each in questions}:
        known = ", ".join(sorted({each.topic for each in questions}))
        raise PlanError(f"--topic: no question is about {min(unknown)}; the topics are {known}.")
    return Selection(topics=topics, limit=options.limit, seed=options.seed).choose(questions)


def _find_judge(name: str | None, questions: Sequence[Question], catalog: Catalog) -> Agent | None:
    judged = [each for each in questions if each.is_judged]
    if name is None:
        if judged and DEFAULT_JUDGE not in catalog.agents:
            raise PlanError(
                f"--judge is needed: {len(judged)} questions have no reference that a program can "
                f"compare, the first is {judged[0].id}. Name an agent, such as "
                f"--judge agent/{min(catalog.agents)}; without --judge it is agent/{DEFAULT_JUDGE}."
            )
        return catalog.agents[DEFAULT_JUDGE] if judged else None
    agent = catalog.agents.get(name.removeprefix(AGENT_PREFIX))
    if agent is None:
        raise PlanError(f"--judge: there is no agent named {name.removeprefix(AGENT_PREFIX)}.")
    return agent


def _check_prices(entrants: Entrants, judge: Agent | None, catalog: Catalog) -> None:
    """Raise PlanError for a model without a price: its cost cannot be limited."""
    agents = [
        *entrants.agents,
        *(agent for each in entrants.ensembles for agent in each.all_agents),
        *([judge] if judge else []),
    ]
    models = {model for each in agents for model in (each.model, *each.fallbacks)}
    if missing := sorted(models - set(catalog.prices)):
        raise PlanError(
            f"--max-cost-usd: {', '.join(missing)} has no price in the ensembles file, so that its "
            'cost cannot be limited; add a table [prices."MODEL"].'
        )
