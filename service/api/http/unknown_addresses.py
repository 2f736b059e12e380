"""Messages for addresses that other servers have and this one does not."""

from __future__ import annotations

from collections.abc import Mapping

_QUESTIONS = "Questions go to POST /v1/chat/completions or POST /v1/responses."
_ONLY_TEXT = "This service answers questions with text"
_ON_ITS_SERVER = "call the server of the model directly for it"

# By the first segments of the path below `/v1`. Source: https://platform.openai.com/docs/api-reference
_OPENAI: Mapping[str, str] = {
    "completions": "The legacy completions API is not available: send the prompt as a message to "
    "POST /v1/chat/completions, or to POST /stream.",
    "chat": "The address is POST /v1/chat/completions.",
    "responses": "A response has the addresses GET /v1/responses/{id} and "
    "POST /v1/responses/{id}/cancel; POST /v1/responses creates one.",
    "conversations": "Conversations are at GET /api/conversations; POST /v1/responses starts and "
    "continues one with the field conversation.",
    "messages": f"Anthropic's API is not available. {_QUESTIONS}",
    "embeddings": f"{_ONLY_TEXT} and has no embeddings: {_ON_ITS_SERVER}. GET /search finds "
    "stored questions and answers by their words.",
    "images": f"{_ONLY_TEXT} and creates no images: {_ON_ITS_SERVER}. POST /v1/chat/completions "
    "accepts images in a question as image_url.",
    "audio": f"{_ONLY_TEXT} and neither speaks nor transcribes: {_ON_ITS_SERVER}. POST "
    "/v1/chat/completions accepts audio in a question as input_audio.",
    "videos": f"{_ONLY_TEXT} and creates no videos: {_ON_ITS_SERVER}.",
    "moderations": f"{_ONLY_TEXT} and does not classify texts: {_ON_ITS_SERVER}.",
    "files": "Files are not stored here: put the data of a file into the message, as a part of "
    "the type file (POST /v1/chat/completions) or input_file (POST /v1/responses).",
    "uploads": "Files are not stored here: put the data of a file into the message, as a part of "
    "the type file (POST /v1/chat/completions) or input_file (POST /v1/responses).",
    "vector_stores": "There are no vector stores: put the text to search into the message. "
    "GET /search finds stored questions and answers by their words.",
    "batches": "There are no batches: send each question to POST /v1/responses with "
    "background: true, and read the answer later.",
    "assistants": f"The assistants API is not available. {_QUESTIONS} The field conversation of "
    "POST /v1/responses continues a conversation; prompts are in ensembles.toml.",
    "threads": "The assistants API is not available: POST /v1/responses with the field "
    "conversation starts and continues a conversation.",
    "realtime": "The realtime API is not available: GET /chat opens a WebSocket for text.",
    "fine_tuning": f"{_ONLY_TEXT} and does not train models: {_ON_ITS_SERVER}.",
    "evals": f"The evals API is not available. {_QUESTIONS}",
    "rerank": f"{_ONLY_TEXT} and does not rank texts: {_ON_ITS_SERVER}.",
}

# Addresses of other servers that clients try. Source: https://docs.ollama.com/api
_OTHERS: Mapping[str, str] = {
    f"api/{name}": f"Ollama's API is not available. {_QUESTIONS} Models: GET /v1/models."
    for name in ("chat", "generate", "tags", "show", "embed", "embeddings", "ps", "version")
}


def describe_unknown(path: str) -> str:
    """Return the message for a path without a route, with the available alternative if known."""
    segments = [each for each in path.lower().split("/") if each]
    if segments[:2] == ["v1", "v1"]:
        return "The address has /v1 twice: let the base URL of the client end in one /v1."
    if segments[:1] == ["v1"]:
        return _OPENAI.get("".join(segments[1:2]), f"There is no such address. {_QUESTIONS}")
    if advice := _OTHERS.get("/".join(segments[:2])):
        return advice
    is_openai = segments and (segments[0] in _OPENAI or segments[0] == "models")
    if is_openai or segments[-2:] == ["chat", "completions"]:
        return "OpenAI's API is below /v1: let the base URL of the client end in /v1."
    return "There is nothing at this address; GET / lists the addresses."
