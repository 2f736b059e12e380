"""Runs an evaluation: the panels, the strategies, the judge, and members at equal cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

from service.domain import Message
from service.ensembles.agents import Agent
from service.ensembles.catalog import Ensemble
from service.evaluation.judging.judge import Judge
from service.evaluation.panels.entrants import (
    Entrants,
    list_members,
    make_majority,
    make_samples,
    make_single,
)
from service.evaluation.panels.request import ModelRequest
from service.evaluation.panels.run_result import RunResult
from service.evaluation.panels.sharing import SharedAnswers
from service.evaluation.panels.totals import (
    make_failed_answer,
    make_shared_answer,
    make_single_answer,
)
from service.evaluation.questions.question import Question
from service.evaluation.results import Contestant, GivenAnswer, JudgedPair
from service.evaluation.running.equal_cost import EqualCost, choose_equal_costs
from service.evaluation.running.executor import Executor
from service.evaluation.running.progress import OnProgress, Progress
from service.store.budgets.units import NANO_PER_USD
from service.strategies.fanout import gather_together

Pair = tuple[str, str]


class Runner:
    """The work of one evaluation, and its results so far.

    Questions are worked on in their order, some at the same time, so that an evaluation that stops
    has complete results of the first ones. The results do not depend on the order.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        entrants: Entrants,
        executor: Executor,
        judge: Judge | None,
        *,
        concurrency: int,
        on_progress: OnProgress,
    ) -> None:
        self.answers: dict[tuple[str, str], GivenAnswer] = {}
        self.pairs: list[JudgedPair] = []
        self.equal_costs: list[EqualCost] = []
        self._questions = questions
        self._entrants = entrants
        self._executor = executor
        self._judge = judge
        self._concurrency = concurrency
        self._on_progress = on_progress

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """All contestants, with those at equal cost once these are known."""
        return (*self._entrants.contestants, *(each.contestant for each in self.equal_costs))

    async def run(self, *, has_equal_cost: bool) -> None:
        """Collect all results, or those until the evaluation stops."""
        judged = [each for each in self._questions if each.is_judged and self._judge]
        await self._for_each("answers", self._questions, self._answer)
        await self._for_each("verdicts", judged, partial(self._judge_pairs, self._list_pairs()))
        if not has_equal_cost or self._executor.halt:
            return
        self.equal_costs = choose_equal_costs(
            self._entrants, self._questions, self.answers, self.pairs
        )
        for each in self.equal_costs:
            step = f"answers of {each.contestant.name}"
            await self._for_each(step, self._questions, partial(self._answer_at_equal_cost, each))
        pairs = [(each.contestant.equal_cost_to, each.contestant.name) for each in self.equal_costs]
        if pairs:
            await self._for_each("verdicts", judged, partial(self._judge_pairs, pairs))

    async def _answer(self, question: Question) -> None:
        """Ask the panel, and then all strategies with its answers."""
        agents = self._entrants.agents
        panel = await self._ask_panel(question, agents)
        for name, agent in self._entrants.members.items():
            if result := panel.get(agent.name):
                self._add(make_single_answer(question, name, result))
        await gather_together(
            [self._answer_together(question, each, panel) for each in self._entrants.ensembles]
        )

    async def _ask_panel(self, question: Question, agents: Sequence[Agent]) -> dict[str, RunResult]:
        """Return the results by the agent's name; without those that were not asked any more."""
        results = await gather_together(
            [
                self._executor.execute(_make_request(question, f"agent/{each.name}", each))
                for each in agents
            ]
        )
        return {
            agent.name: result
            for agent, result in zip(agents, results, strict=True)
            if result is not None
        }

    async def _answer_together(
        self,
        question: Question,
        ensemble: Ensemble,
        panel: dict[str, RunResult],
    ) -> None:
        """Let an ensemble work with the answers of its agents."""
        if any(each.name not in panel for each in ensemble.layers[0]):
            return  # the evaluation stops
        name = ensemble.name
        shared = SharedAnswers(ensemble, panel)
        if shared.shortage:
            self._add(make_failed_answer(question, name, shared.shortage))
            return
        result = shared.direct
        if result is None:
            request = ModelRequest(
                name=name,
                question_id=question.id,
                messages=(Message("user", question.text),),
                ensemble=shared.make_ensemble(),
                reused=shared.reports,
            )
            result = await self._executor.execute(request)
        if result is not None:
            self._add(make_shared_answer(question, name, shared, result))

    async def _answer_at_equal_cost(self, equal: EqualCost, question: Question) -> None:
        name = equal.contestant.name
        if equal.times == 1:
            panel = await self._ask_panel(question, [equal.agent])
            for result in panel.values():
                self._add(make_single_answer(question, name, result))
            return
        samples = make_samples(equal.agent, equal.times)
        panel = await self._ask_panel(question, samples)
        await self._answer_together(question, make_majority(name, samples), panel)

    def _list_pairs(self) -> list[Pair]:
        """Return the pairs to judge: ensembles, each with its members, and members."""
        ensembles, members = self._entrants.ensembles, [*self._entrants.members]
        pairs = [(each.name, member) for each in ensembles for member in list_members(each)]
        for names in ([each.name for each in ensembles], members):
            pairs += [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
        return pairs

    async def _judge_pairs(self, pairs: Sequence[Pair], question: Question) -> None:
        await gather_together([self._judge_pair(question, *each) for each in pairs])

    async def _judge_pair(self, question: Question, left: str, right: str) -> None:
        """Compare two contestants that both have an answer."""
        one, other = (self.answers.get((name, question.id)) for name in (left, right))
        if self._judge is None or one is None or other is None or one.error or other.error:
            return
        pair = await self._judge.compare(question, one, other)
        if pair is not None:
            self.pairs.append(pair)

    def _add(self, answer: GivenAnswer) -> None:
        self.answers[answer.contestant, answer.question_id] = answer

    async def _for_each(
        self,
        step: str,
        questions: Sequence[Question],
        work: Callable[[Question], Awaitable[None]],
    ) -> None:
        """Work on all questions, `concurrency` of them at the same time, and report each."""
        slots, done = asyncio.Semaphore(self._concurrency), 0

        async def work_on(question: Question) -> None:
            nonlocal done
            async with slots:
                if not self._executor.halt:
                    await work(question)
                if not self._executor.halt:
                    done += 1
                    self._report(step, done, len(questions))

        if questions and not self._executor.halt:
            self._report(step, 0, len(questions))
            works: list[Coroutine[None, None, None]] = [work_on(each) for each in questions]
            await gather_together(works)

    def _report(self, step: str, done: int, planned: int) -> None:
        executor = self._executor
        self._on_progress(
            Progress(
                step=step,
                done=done,
                planned=planned,
                sent=executor.known.sent,
                reused=executor.known.reused,
                spent_usd=executor.money.spent_nano / NANO_PER_USD,
            )
        )


def _make_request(question: Question, name: str, agent: Agent) -> ModelRequest:
    return ModelRequest(
        name=name,
        question_id=question.id,
        messages=(Message("user", question.text),),
        ensemble=make_single(agent),
    )
