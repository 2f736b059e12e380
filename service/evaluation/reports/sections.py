"""The contents of a report in sections, before they are written as Markdown or for a terminal.

All texts are plain: the writers escape them.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.evaluation.comparing.tables import ComparisonTable, compare_contestants
from service.evaluation.reports.explanations import (
    ANSWERS,
    BIASES,
    COMPARISONS,
    STOPS,
    TITLES,
    VERDICTS,
)
from service.evaluation.reports.figures import (
    UNKNOWN,
    write_count,
    write_difference,
    write_p,
    write_seconds,
    write_share,
    write_usd,
)
from service.evaluation.reports.losses import make_loss_sections
from service.evaluation.reports.standings import Standing, make_standings
from service.evaluation.reports.verdicts import make_sentences
from service.evaluation.results import Evaluation
from service.evaluation.statistics.judge_biases import JudgeBiases, Share, measure_biases


@dataclass(frozen=True, slots=True)
class Section:
    """A title, sentences, and a table."""

    title: str
    sentences: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def make_sections(evaluation: Evaluation) -> list[Section]:
    """Return the sections of a report, also of an evaluation that stopped early."""
    tables = compare_contestants(evaluation)
    standings = make_standings(evaluation)
    sections = [
        _make_result(evaluation, tables, standings),
        _make_standing_section(standings),
        *(_make_comparison_section(table) for table in tables if table.rows),
    ]
    sections += [Section(*parts) for parts in make_loss_sections(evaluation, tables)]
    if evaluation.pairs:
        sections.append(_make_judge_section(evaluation, measure_biases(evaluation)))
    sections.append(_make_input_section(evaluation))
    return sections


def _make_result(
    evaluation: Evaluation, tables: tuple[ComparisonTable, ...], standings: list[Standing]
) -> Section:
    sentences = [STOPS[evaluation.stopped]] if evaluation.stopped else []
    sentences += make_sentences(tables, standings)
    if not standings:
        sentences.append("There is no answer yet.")
    return Section("Result", tuple(sentences))


def _make_standing_section(standings: list[Standing]) -> Section:
    return Section(
        "Answers",
        (ANSWERS,),
        (
            "contestant",
            "right (95 %)",
            "undecided",
            "missing",
            "judged",
            "cost",
            "tokens",
            "first token",
            "total time",
        ),
        tuple(_make_standing_row(each) for each in standings),
    )


def _make_standing_row(standing: Standing) -> tuple[str, ...]:
    times = (standing.first_token_ms, standing.total_ms)
    return (
        standing.contestant.name,
        write_share(standing.right),
        str(standing.undecided),
        str(standing.failed),
        str(standing.judged),
        write_usd(standing.mean_cost_usd),
        write_count(standing.mean_tokens),
        *(f"{write_seconds(each.p50)} / {write_seconds(each.p95)}" for each in times),
    )


def _make_comparison_section(table: ComparisonTable) -> Section:
    return Section(
        TITLES[table.name],
        (COMPARISONS[table.name],),
        (
            "contestant",
            "opponent",
            "wins",
            "ties",
            "losses",
            "undecided",
            "difference in points (95 %)",
            "p",
            "p corrected",
            "verdict",
        ),
        tuple(
            (
                row.contestant,
                row.opponent or UNKNOWN,
                *(str(n) for n in (row.tally.wins, row.tally.ties, row.tally.losses)),
                str(row.tally.undecided),
                write_difference(row.difference),
                write_p(row.difference.p),
                write_p(row.difference.p_corrected),
                row.difference.verdict,
            )
            for row in table.rows
        ),
    )


def _make_judge_section(evaluation: Evaluation, biases: JudgeBiases) -> Section:
    judge = evaluation.inputs
    shares = [
        ("orders of the two answers led to different verdicts", biases.orders_differ, False),
        ("of opposed verdicts, the first answer won", biases.first_won, True),
        ("the clearly longer answer won", biases.longer_won, True),
        (f"the answer of its own family ({biases.family}) won", biases.own_family_won, True),
    ]
    sentence = (
        f"{judge.judge} ({judge.judge_model}) compared {biases.pairs} pairs in both orders. "
        f"{biases.undecided} are undecided, and {biases.repeated} replies without a verdict were "
        "asked again. A win needs the same verdict in both orders."
    )
    return Section(
        "The judge",
        (sentence, BIASES),
        ("observation", "share (95 %)", "sign of a bias"),
        tuple(
            (name, write_share(share), _write_sign(share, is_sign))
            for name, share, is_sign in shares
        ),
    )


def _write_sign(share: Share, is_sign: bool) -> str:
    if not is_sign or share.value is None:
        return UNKNOWN
    return "yes" if share.is_biased else "no"


def _make_input_section(evaluation: Evaluation) -> Section:
    inputs = evaluation.inputs
    rows = [
        ("questions", f"{len(evaluation.questions)} of {inputs.questions_file}"),
        ("hash of the questions", inputs.questions_hash),
        ("hash of the ensembles", inputs.ensembles_hash),
        ("seed", str(inputs.seed)),
        ("judge", inputs.judge or "none"),
        ("version", inputs.version),
        ("started", inputs.started_at),
        ("requests", f"{evaluation.sent} sent, {evaluation.reused} from the cache"),
        ("spent", write_usd(evaluation.spent_usd)),
    ]
    return Section(
        "Inputs",
        (*evaluation.notes, VERDICTS),
        ("input", "value"),
        tuple(rows),
    )
