"""Judges that prefer the right answer with a known probability, and have known biases.

They answer in the form that the prompt's JSON schema demands: points, a ranking, the better of
two, or whether all agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from service.mock_llm.request import MockRequest
from service.mock_llm.script import Script
from service.mock_llm.skills.draws import make_random
from service.mock_llm.skills.knowledge import find_known_answer

_CANDIDATE = re.compile(
    r'<candidate-(?P<mark>\w+) label="(?P<label>\w+)">\n(?P<text>.*?)\n</candidate-(?P=mark)>', re.S
)
_NONSENSE = "Both have their charm, and I would not want to choose."
_BEST = 9  # points


class _Candidate(NamedTuple):
    label: str
    text: str
    is_right: bool


def judge_by_skill(request: MockRequest, script: Script, speaker: str) -> str | None:
    """Return a verdict as JSON, or nonsense; None if the request is no question to a judge."""
    if script.judge is None:
        return None
    prompts = [each.text for each in request.messages if each.role == "user"]
    prompt = next((each for each in prompts if _CANDIDATE.search(each)), "")
    if not prompt:
        return None
    # A judge that is asked again draws again.
    attempt = make_random("attempt", speaker, prompt, len(request.messages))
    if attempt.random() < script.nonsense:
        return _NONSENSE
    candidates = _read_candidates(prompt)
    ranking = _rank(candidates, prompt, script, speaker)
    return json.dumps(_make_verdict(prompt, candidates, ranking))


def _read_candidates(prompt: str) -> list[_Candidate]:
    known = find_known_answer(_CANDIDATE.split(prompt, maxsplit=1)[0])
    return [
        _Candidate(found["label"], found["text"], bool(known and known.is_right(found["text"])))
        for found in _CANDIDATE.finditer(prompt)
    ]


def _rank(
    candidates: list[_Candidate], prompt: str, script: Script, speaker: str
) -> list[_Candidate] | None:
    """Return the candidates, the best first; None if the judge sees no difference.

    A preference for the first depends on the order in which the answers are shown. The judge's
    errors and its preference for length do not.
    """
    if make_random("first", speaker, prompt).random() < script.prefers_first:
        return candidates
    texts = sorted(each.text for each in candidates)
    if make_random("length", speaker, *texts).random() < script.prefers_longer:
        return sorted(candidates, key=lambda each: (-len(each.text), each.text))
    if len({each.is_right for each in candidates}) == 1:
        return None
    errs = make_random("error", speaker, *texts).random() >= (script.judge or 0.0)
    return sorted(candidates, key=lambda each: each.is_right == errs)


def _make_verdict(
    prompt: str, candidates: Sequence[_Candidate], ranking: Sequence[_Candidate] | None
) -> dict[str, Any]:
    labels = [each.label for each in ranking or candidates]
    schema = prompt.rpartition("</candidate-")[2]
    verdict: dict[str, Any] = {"reason": "The mock decided by its options."}
    if '"scores"' in schema:
        points = {
            label: max(0, _BEST - at) if ranking else _BEST for at, label in enumerate(labels)
        }
        return verdict | {"scores": points}
    if '"ranking"' in schema:
        return verdict | {"ranking": labels}
    if '"agree"' in schema:
        return verdict | {"agree": len({each.text for each in candidates}) == 1}
    return verdict | {"better": labels[0] if ranking else "tie"}
