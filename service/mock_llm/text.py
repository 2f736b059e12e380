"""Texts of the mock: plausible answers that depend on the prompts and the seed only.

Independent of HTTP, JSON and timing. A token is a word with the white space before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

_SENTENCES = 6
_QUOTED_WORDS = 9

# The manners of answers: a pattern for the system prompt, first sentences, further sentences.
_MANNERS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "inventive": (
        r"inventive|creativ|imagin|analog|metaphor|playful|original",
        (
            "Picture {topic} as a trampoline with a bowling ball resting in the middle.",
            "Imagine {topic} as an orchestra that tunes itself while it plays.",
            "Think of {topic} as a river that carves the very bank it follows.",
            "Suppose {topic} were a market square early on a Saturday morning.",
        ),
        (
            "Everything nearby leans towards the centre without being told to.",
            "Nobody conducts, and yet each part hears enough of its neighbour to stay in time.",
            "Pull one thread and the pattern at the far end shifts as well.",
            "The surprise is how few rules it takes to draw such a rich picture.",
            "Turn the image upside down and it still holds, which is a good sign.",
            "A child would notice the rhythm first and the reason only later.",
            "Where the comparison breaks, there is something new to learn.",
            "So the shape you see is really the memory of many small pushes.",
        ),
    ),
    "careful": (
        r"careful|factual|precis|accura|sober|rigorous|evidence|exact",
        (
            "Several points about {topic} are well established.",
            "On {topic}, it helps to separate what is measured from what is assumed.",
            "The evidence on {topic} is solid in its outline and open in its details.",
            "A sober summary of {topic} begins with the definitions.",
        ),
        (
            "The basic effect has been measured many times and does not depend on taste.",
            "Its size is modest in daily life and grows with scale.",
            "The usual explanation fits the data but is not the only one possible.",
            "Figures vary between sources, so treat any single number with caution.",
            "What is not known should be said plainly: the limits are still being tested.",
            "Common accounts leave out the conditions under which this holds.",
            "The claim can be checked with simple means and some patience.",
            "Where the sources disagree, the older ones tend to be less exact.",
        ),
    ),
    "critical": (
        r"critic|scept|skept|doubt|devil|challeng|review",
        (
            "Before accepting the usual story about {topic}, look at what it leaves out.",
            "The weak point in most accounts of {topic} is an unstated assumption.",
        ),
        (
            "The popular version explains the easy case and is silent on the hard one.",
            "Ask what would have to be true for the opposite to hold.",
            "Part of the argument is circular, which is easy to miss at first reading.",
            "A fair objection is that the examples were chosen after the fact.",
            "Still, the core survives these doubts in a narrower form.",
            "I would want one independent check before relying on it.",
            "The costs are rarely counted together with the benefits.",
        ),
    ),
    "plain": (
        r"",
        (
            "In short, {topic} comes down to a few simple ideas.",
            "Here is a short answer about {topic}.",
            "The heart of {topic} is easier than it looks.",
            "To understand {topic}, start with the simplest case.",
        ),
        (
            "Start with what you can see, and ask what must be behind it.",
            "Each part does one small thing, and together they give the whole effect.",
            "It matters because many other things depend on it every day.",
            "A small example shows it better than a long definition.",
            "Once the first step is clear, the rest follows almost by itself.",
            "The details differ from case to case, but the principle stays.",
            "That is why it looks the same wherever people have checked.",
            "If you remember one thing, remember how the parts fit together.",
        ),
    ),
}
_COMBINE = re.compile(r"combin|synthes|merg|aggregat|reconcil", re.I)
_COMBINING_SENTENCES = (
    "Both views meet where the parts are seen to act together.",
    "Where they differ, the difference is one of emphasis rather than of fact.",
    "The picture makes the idea easy to hold and the facts keep it honest.",
    "Taken together they give a fuller account than either alone.",
    "What they share is most likely to be right.",
    "The careful reader will keep the open questions in mind.",
)
_LEAD_IN = re.compile(
    r"^(please|explain|describe|tell me( about)?|(what|how|why) (is|are|do|does))\s+", re.I
)
# Sections of a combiner's prompt: <answer agent="a">…</answer>, or a heading line and its text.
_TAGGED = re.compile(r"<(?P<tag>\w+)(?P<name>[^<>]*)>(?P<text>(?:(?!</?\w).)*)</(?P=tag)>", re.S)
_HEADED = re.compile(
    r"^(?:#+ *(?P<a>.+)|\[(?P<b>[^\]\n]+)\](?: \([^)\n]*\))?:?|(?P<c>[^\n]{1,80}):) *$", re.M
)
_QUESTION = re.compile(r"question|user|asked|prompt|task", re.I)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input for a text. `earlier` is the user's message before `question`."""

    system: str
    question: str
    earlier: str = ""
    model: str = ""
    seed: int = 0


@lru_cache(maxsize=512)
def answer_tokens(prompt: Prompt, length: int | None = None) -> tuple[str, ...]:
    """Return the answer to `prompt`: exactly `length` tokens, or a few sentences."""
    # Deterministic: the same prompt always results in the same words.
    random = Random(repr(prompt))  # noqa: S311
    sections = _parse_sections(prompt.question) if _COMBINE.search(prompt.system) else []
    sentences = (
        _generate_combined(sections, prompt, random)
        if sections
        else _generate_single(prompt, random)
    )
    if length is None:
        return split_tokens(" ".join(next(sentences) for _ in range(_SENTENCES + len(sections))))
    tokens: list[str] = []
    while len(tokens) < length:
        tokens += split_tokens((" " if tokens else "") + next(sentences))
    return tuple(tokens[:length])


def reasoning_tokens(prompt: Prompt) -> tuple[str, ...]:
    """Return a short reasoning about `prompt`."""
    topic = _extract_topic(prompt.question)
    return split_tokens(f"The question is about {topic}. A few sentences are enough.")


@lru_cache(maxsize=1024)
def split_tokens(text: str) -> tuple[str, ...]:
    """Split `text` into words with their leading white space; they join to `text` again."""
    return tuple(re.findall(r"\s*\S+", text))


def count_tokens(text: str) -> int:
    """Return the number of tokens in `text`."""
    return len(text.split())


def _generate_single(prompt: Prompt, random: Random) -> Iterator[str]:
    """Yield the sentences of an agent's answer, endlessly."""
    _, openings, sentences = _MANNERS[_detect_manner(prompt.system)]
    topic = _extract_topic(prompt.question)
    yield random.choice(openings).format(topic=topic)
    yield from _mention_instructions(prompt)
    if prompt.earlier:
        yield f"Earlier you asked about “{_quote_start(prompt.earlier)}”, and this follows on."
    yield from _repeat(sentences, topic, random)


def _generate_combined(
    sections: Sequence[tuple[str, str]], prompt: Prompt, random: Random
) -> Iterator[str]:
    """Yield the sentences of a combiner's answer, which quotes all other answers, endlessly."""
    questions = [text for name, text in sections if _QUESTION.search(name)]
    answers = [(name, text) for name, text in sections if not _QUESTION.search(name)]
    topic = _extract_topic(questions[0] if questions else "the question")
    yield f"Combining {len(answers)} answers about {topic}:"
    for name, text in answers:
        yield f"{name} says “{_quote_start(text)}”."
    yield from _mention_instructions(prompt)
    yield from _repeat(_COMBINING_SENTENCES, topic, random)


def _mention_instructions(prompt: Prompt) -> Iterator[str]:
    if prompt.system.strip():
        yield f"(My instructions begin “{_quote_start(prompt.system)}”.)"


def _repeat(sentences: Sequence[str], topic: str, random: Random) -> Iterator[str]:
    """Yield `sentences` in random order repeatedly, each time followed by one on the topic."""
    order = random.sample(sentences, len(sentences))
    while True:
        yield from order
        yield f"That brings us back to {topic}."


def _detect_manner(system: str) -> str:
    for name, (words, _, _) in _MANNERS.items():
        if words and re.search(words, system, re.I):
            return name
    return "plain"


def _extract_topic(question: str) -> str:
    """Return the topic of a question: its first words, without the lead-in."""
    question = question.strip().removeprefix("Question:").strip().partition("\n\n")[0]
    words = _LEAD_IN.sub("", question).rstrip("?!. ").split()
    return " ".join(words[:10]) or "this"


def _quote_start(text: str) -> str:
    words = text.split()
    more = "…" if len(words) > _QUOTED_WORDS else ""
    return " ".join(words[:_QUOTED_WORDS]) + more


def _parse_sections(text: str) -> list[tuple[str, str]]:
    """Return (name, text) of each section of a combiner's prompt, including the question."""
    tagged = [
        (_name_tag(match["tag"], match["name"]), match["text"].strip())
        for match in _TAGGED.finditer(text)
    ]
    if tagged:
        return tagged
    heads = list(_HEADED.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [
        (head["a"] or head["b"] or head["c"], text[head.end() : end].strip())
        for head, end in zip(heads, ends, strict=True)
        if text[head.end() : end].strip()
    ]


def _name_tag(tag: str, attributes: str) -> str:
    """Return the value of a tag's first attribute, or the tag itself if it has none."""
    value = re.search(r"""=\s*["']?([^"'>]+)""", attributes)
    return value[1] if value else tag
