"""The sentence, codes and fields of an error that a model's server reports, in any format. Sans-IO.

Servers, gateways and proxies report errors in different ways: JSON in more than a dozen shapes, a
page of HTML, plain text, or an event of a stream. Only this module knows these formats.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from service.llm.surrogates import loads, replace_lone_surrogates

_MAX_DEPTH = 8
_MAX_TEXT_CHARS = 2_000
_MAX_ITEMS = 3

# Keys, in lower case, under which servers report the reason; the first with a text applies:
#   error        OpenAI, Ollama ("error": "…"), TGI, FastAPI gateways; Gemini as a list of one
#   message      vLLM and Mistral ({"object": "error", …}), Cohere, Kong, AWS ("Message")
#   detail       FastAPI ("…", or pydantic's list of {loc, msg}), RFC 9457 with "title"
#   errors       Cloudflare ([{code, message}]), ASP.NET ({field: [text]})
#   fault        Apigee ({"faultstring": …});   raw: OpenRouter, the provider's own body as text
_REASONS = (
    "message", "detail", "error_description", "error_message", "errormessage", "msg", "faultstring",
    "description", "error", "errors", "fault", "reason", "exception", "title", "failure_reason",
    "error_msg", "status_msg", "errmsg", "cause",
)  # fmt: skip
_CODES = ("code", "type", "status", "error_type", "__type", "errorcode", "error_code", "name")
_FIELDS = ("param", "field", "parameter", "property", "propertyname")
# Objects that contain further codes and fields, but no better sentence than the one beside them.
_DETAILS = (
    "innererror", "inner_error", "details", "error", "errors", "detail", "fault", "metadata", "raw",
    "message", "fieldviolations", "source",
)  # fmt: skip
_TAGS = ("title", "h1", "message", "faultstring", "h2")


@dataclass(slots=True)
class ErrorFacts:
    """A server's error: its `sentence` ("" without one), its codes, and the fields that it names.

    `numbers` are its numeric fields by name, such as llama.cpp's `n_ctx`.
    """

    sentence: str = ""
    codes: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)


def read_error_body(body: bytes) -> ErrorFacts:
    """Return the facts of the body of an error response; its first bytes decide the format."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:5] in (b"data:", b"event"):  # a server that has started its stream with the error
        lines = (line for line in text.splitlines() if line.startswith(b"data:"))
        text = next(lines, b"")[5:].strip()
    if text[:1] in (b"{", b"[", b'"'):
        try:
            return read_error(_load(text))
        except ValueError:
            pass
    decoded = "" if text == b"null" else text[:65_536].decode("utf-8", "replace")
    if decoded.startswith("<"):
        return ErrorFacts(_read_page(decoded))
    return ErrorFacts(_tidy(decoded.partition("\n\n")[0]))


def read_error(document: Any) -> ErrorFacts:
    """Return the facts of an error that is decoded JSON: an error object, or what contains one."""
    facts = ErrorFacts(_find_sentence(document) or _find_any_sentence(document))
    for each in _list_objects(document):
        _collect(facts, each)
    return facts


def is_error_document(document: Any) -> bool:
    """Return whether a JSON document that contains no answer reports an error."""
    if isinstance(document, list):
        return bool(document) and is_error_document(document[0])
    if not isinstance(document, dict) or document.get("choices"):
        return False
    keys = {key.lower() for key in document}
    if document.get("error") or document.get("errors") or document.get("object") == "error":
        return True
    return bool(keys & {"message", "detail", "fault", "title"}) and bool(_find_sentence(document))


def _load(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return loads(text)


# --- sentences ---


def _find_sentence(value: Any, depth: int = 0) -> str:
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        return _read_text(value, depth)
    if isinstance(value, list):
        found = [_find_sentence(each, depth + 1) for each in value[:_MAX_ITEMS]]
        return "; ".join(dict.fromkeys(filter(None, found)))
    if not isinstance(value, dict):
        return ""
    fields = {str(key).lower(): each for key, each in value.items()}
    sentence = _read_validation_fault(fields) or _read_reasons(fields, depth)
    return _add_provider_reason(sentence, fields, depth)


def _find_any_sentence(value: Any, depth: int = 0) -> str:
    """Return the first text of several words in a document whose reason has an unknown name."""
    if isinstance(value, str):
        return _read_text(value, depth) if len(value.split()) > 1 else ""
    if depth > _MAX_DEPTH or not isinstance(value, dict | list):
        return ""
    inner = list(value.values() if isinstance(value, dict) else value)[:32]
    return next(filter(None, (_find_any_sentence(each, depth + 1) for each in inner)), "")


def _read_text(text: str, depth: int) -> str:
    """Return a text, or the sentence of the JSON in it: proxies quote the body of the provider."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        try:
            return _find_sentence(_load(text.strip().encode("utf-8", "replace")), depth + 1)
        except ValueError:
            pass
    return _read_page(text) if start == "<" else _tidy(text)


def _read_validation_fault(fields: Mapping[str, Any]) -> str:
    """Return an item of pydantic's list of faults as `field: message`, "" for other objects."""
    where, message = fields.get("loc"), fields.get("msg")
    if not isinstance(where, list) or not isinstance(message, str):
        return ""
    path = ".".join(str(each) for each in where if each != "body")
    return f"{path}: {_tidy(message)}" if path else _tidy(message)


def _read_reasons(fields: Mapping[str, Any], depth: int) -> str:
    if "title" in fields and isinstance(fields.get("detail"), str):  # RFC 9457
        return f"{_tidy(str(fields['title']))}: {_find_sentence(fields['detail'], depth)}"
    if isinstance(fields.get("errors"), dict):  # ASP.NET: the fields with their faults
        faults = [
            f"{name}: {_find_sentence(each, depth + 1)}"
            for name, each in list(fields["errors"].items())[:_MAX_ITEMS]
        ]
        return "; ".join(faults)
    nested = [
        key for key in ("error", "errors", "fault") if isinstance(fields.get(key), dict | list)
    ]
    for key in (*nested, *_REASONS):
        if sentence := _find_sentence(fields.get(key), depth + 1):
            return sentence
    codes = [fields[key] for key in ("code", "type") if isinstance(fields.get(key), str)]
    return codes[0] if codes and depth else ""


def _add_provider_reason(sentence: str, fields: Mapping[str, Any], depth: int) -> str:
    """Add the sentence of the provider behind a router (OpenRouter's `metadata.raw`)."""
    metadata = fields.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    reason = _find_sentence(raw, depth + 1)
    if not reason or reason in sentence:
        return sentence
    return f"{sentence}: {reason}" if sentence else reason


def _read_page(page: str) -> str:
    """Return the title or first heading of HTML, or the message of an XML error."""
    # Searched with find: a regular expression over an unclosed tag takes quadratic time.
    lower = page.lower()
    for tag in _TAGS:
        start = lower.find(f"<{tag}")
        opened = lower.find(">", start) + 1 if start >= 0 else 0
        end = lower.find(f"</{tag}", opened) if opened else -1
        if end > opened:
            text = re.sub(r"<[^<>]*>", " ", page[opened : min(end, opened + _MAX_TEXT_CHARS)])
            if sentence := _tidy(html.unescape(text)):
                return sentence
    text = re.sub(r"<[^<>]*>", " ", page[:_MAX_TEXT_CHARS])
    return _tidy(html.unescape(text))


def _tidy(text: str) -> str:
    """Return `text` in one line, without characters that are no text."""
    return " ".join(replace_lone_surrogates(text[:_MAX_TEXT_CHARS]).split())


# --- codes and fields ---


def _list_objects(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for each in value[:32]:
            yield from _list_objects(each, depth + 1)
    elif isinstance(value, dict):
        fields = {str(key).lower(): each for key, each in value.items()}
        yield fields
        for key in _DETAILS:
            yield from _list_objects(fields.get(key), depth + 1)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            yield from _list_objects(_load(value.strip().encode("utf-8", "replace")), depth + 1)
        except ValueError:
            return


def _collect(facts: ErrorFacts, fields: Mapping[str, Any]) -> None:
    for key in _CODES:
        value = fields.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            facts.codes.append(str(value))
    slug = fields.get("error")
    if isinstance(slug, str) and " " not in slug:
        facts.codes.append(slug)
    for key in _FIELDS:
        if isinstance(fields.get(key), str) and fields[key]:
            facts.fields.append(fields[key])
    where = fields.get("loc")
    if isinstance(where, list):
        facts.fields.append(".".join(str(each) for each in where if each != "body"))
    if isinstance(fields.get("errors"), dict):
        facts.fields += [str(key) for key in fields["errors"]]
    for key, value in fields.items():
        if isinstance(value, int) and not isinstance(value, bool):
            facts.numbers[key] = value
