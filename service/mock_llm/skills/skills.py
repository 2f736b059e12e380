"""The choice between the skills that a model's options name."""

from __future__ import annotations

from service.mock_llm.request import MockRequest
from service.mock_llm.script import Script
from service.mock_llm.skills.answering import answer_by_skill
from service.mock_llm.skills.combining import combine_by_rule
from service.mock_llm.skills.draws import name_speaker
from service.mock_llm.skills.judging import judge_by_skill


def answer_with_skills(request: MockRequest, script: Script, seed: int) -> str | None:
    """Return the text by the options of the script; None where none of them applies.

    `seed` is that of the mock.
    """
    if script.skill is None and script.judge is None and script.combine is None:
        return None
    speaker = name_speaker(request, script, seed)
    verdict = judge_by_skill(request, script, speaker)
    if verdict is not None:
        return verdict
    combined = combine_by_rule(request.question, script)
    if combined is not None:
        return combined
    return answer_by_skill(request.question, script, speaker, seed)
