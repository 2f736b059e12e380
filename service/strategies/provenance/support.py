"""The parts of an answer with the agents that they rest on, checked against the agents' texts.

A claim of support counts only if the part and the agent's text share enough content words. A part
without a mark rests on the agents whose texts contain most of its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from service.events.findings import Dissent, ProvenancePart
from service.strategies.base import AgentResult
from service.strategies.provenance.marks import MarkFilter
from service.strategies.voting.similarity import count_words

# Parts of the content words of a statement that an agent's text contains at least.
_CLAIMED = 0.25
_UNCLAIMED = 0.6
_CLOSING = re.compile(r"[.!?…:;,)\]\"'”»]+(?=\s|$)")
_SENTENCE = re.compile(r"\S.*?(?:[.!?…](?=\s|$)|(?=\n\s*\n)|$)", re.S)


def find_provenance(
    text: str, marks: MarkFilter, answers: Sequence[AgentResult]
) -> tuple[ProvenancePart, ...]:
    """Return the parts of an answer; marks have the numbers of `answers`, from 1."""
    words = {each.agent.name: set(count_words(each.text)) for each in answers}
    names = [each.agent.name for each in answers]
    parts: list[ProvenancePart] = []
    start = 0
    for place, numbers in marks.marks:
        at = _skip_closing(text, place)
        claimed = [names[number - 1] for number in numbers if 0 < number <= len(names)]
        *before, last = _split(text, start, at) or [(at, at)]
        parts += [_attribute(text, span, words) for span in before]
        if last[0] < last[1]:
            parts.append(_check(text, last, claimed, words))
        elif parts:
            parts[-1] = _add(parts[-1], claimed, words)
        start = max(start, at)
    parts += [_attribute(text, span, words) for span in _split(text, start, len(text))]
    return tuple(parts)


def find_dissent(marks: MarkFilter, answers: Sequence[AgentResult]) -> tuple[Dissent, ...]:
    """Return the statements that the answer does not follow, if they are the agents' own."""
    return tuple(
        Dissent(answers[number - 1].agent.name, statement)
        for number, statement in marks.dissents
        if 0 < number <= len(answers)
        if _share(statement, set(count_words(answers[number - 1].text))) >= _CLAIMED
    )


def _skip_closing(text: str, at: int) -> int:
    """Return the position after the marks that end a sentence: models write them on either side."""
    found = _CLOSING.match(text, at)
    return found.end() if found else at


def _split(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the positions of the sentences between two positions."""
    return list(_find_sentences(text[start:end], start))


def _find_sentences(text: str, offset: int) -> Iterator[tuple[int, int]]:
    for found in _SENTENCE.finditer(text):
        length = len(found[0].rstrip())
        if length:
            yield offset + found.start(), offset + found.start() + length


def _check(
    text: str, span: tuple[int, int], claimed: Sequence[str], words: Mapping[str, set[str]]
) -> ProvenancePart:
    """Return a part with those of the claimed agents whose texts support it."""
    part = text[span[0] : span[1]]
    agents = [name for name in dict.fromkeys(claimed) if _share(part, words[name]) >= _CLAIMED]
    return ProvenancePart(part, *span, tuple(agents))


def _attribute(text: str, span: tuple[int, int], words: Mapping[str, set[str]]) -> ProvenancePart:
    """Return a part without a mark, with the agents whose texts contain most of its words."""
    part = text[span[0] : span[1]]
    agents = [name for name, known in words.items() if _share(part, known) >= _UNCLAIMED]
    return ProvenancePart(part, *span, tuple(agents))


def _add(
    part: ProvenancePart, claimed: Sequence[str], words: Mapping[str, set[str]]
) -> ProvenancePart:
    """Return a part with the supporting agents of a further mark."""
    more = [name for name in claimed if _share(part.text, words[name]) >= _CLAIMED]
    agents = tuple(dict.fromkeys([*part.agents, *more]))
    return ProvenancePart(part.text, part.start, part.end, agents)


def _share(statement: str, known: set[str]) -> float:
    """Return the part of the content words of a statement that are among `known` words."""
    counts = count_words(statement)
    total = sum(counts.values())
    return sum(number for word, number in counts.items() if word in known) / total if total else 0.0
