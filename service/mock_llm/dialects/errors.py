"""Error bodies of model servers: each function returns that of a status with a sentence.

Sources: the servers' documentation, and the responses in tests/dialects/servers.
"""

from __future__ import annotations

from typing import Any

from service.mock_llm.wire import error_document

_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MISTRAL_CODES = {400: "3051", 404: "1500", 422: None, 429: "1300", 500: "1000"}
_PYTHON_TYPES = {
    400: "BadRequestError",
    401: "Unauthorized",
    404: "NotFoundError",
    429: "TooManyRequests",
}
_LLAMA_CPP_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
_OLLAMA_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_LITELLM_TYPES = {401: "auth_error", 429: "throttling_error"}


def write_azure_error(status: int, message: str) -> Any:
    """Return Azure's error, whose code is the status as a string."""
    code = "DeploymentNotFound" if status == 404 else str(status)
    return {"error": {"code": code, "message": message}}


def write_gemini_error(status: int, message: str) -> Any:
    """Return Gemini's error, a list of one; the details of a rate limit advise when to retry."""
    default = "INVALID_ARGUMENT" if status < 500 else "INTERNAL"
    error = {
        "code": status,
        "message": message,
        "status": _GOOGLE_STATUSES.get(status, default),
    }
    if status == 429:
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": kind, "retryDelay": "1s"}]
    return [{"error": error}]


def write_mistral_error(status: int, message: str) -> Any:
    """Return Mistral's error: its gateway's for 401, validation details for 422."""
    if status == 401:
        return {"detail": message}
    kind = {429: "rate_limited"}.get(
        status, "invalid_request_error" if status < 500 else "internal_server_error"
    )
    content: Any = message
    if status == 422:
        content = {"detail": [{"type": "value_error", "loc": ["body"], "msg": message}]}
    code = _MISTRAL_CODES.get(status, str(status))
    return {"object": "error", "message": content, "type": kind, "param": None, "code": code}


def write_groq_error(status: int, message: str) -> Any:
    """Return Groq's error: OpenAI's without a parameter."""
    error = error_document(status, message)["error"]
    kind = "tokens" if status in (413, 429) else error["type"]
    code = "rate_limit_exceeded" if status == 413 else error["code"]
    return {"error": {"message": message, "type": kind, "code": code}}


def write_deepseek_error(status: int, message: str) -> Any:
    """Return DeepSeek's error, whose code is the kind of most errors."""
    kind = {401: "authentication_error", 402: "unknown_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error" if status < 500 else "service_unavailable_error"
    )
    code = "invalid_request_error" if status < 500 else kind
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def write_openrouter_error(status: int, message: str) -> Any:
    """Return OpenRouter's error; a provider's rate limit or failure is in the metadata."""
    error: dict[str, Any] = {"message": message, "code": status}
    if status == 429 or status in (502, 503):
        error["message"] = "Provider returned error"
        error["metadata"] = {"raw": message, "provider_name": "Mock"}
    return {"error": error, "user_id": "user_mock"}


def write_vllm_error(status: int, message: str) -> Any:
    """Return vLLM's error, with the status as its code."""
    return {"error": _describe_python_error(status, message)}


def write_sglang_error(status: int, message: str) -> Any:
    """Return SGLang's error, which has no inner object."""
    return {"object": "error", **_describe_python_error(status, message)}


def write_llama_cpp_error(status: int, message: str) -> Any:
    """Return llama.cpp's error, with the status as its code."""
    kind = _LLAMA_CPP_TYPES.get(status, "server_error")
    return {"error": {"code": status, "message": message, "type": kind}}


def write_ollama_error(status: int, message: str) -> Any:
    """Return Ollama's error, which has no code."""
    kind = _OLLAMA_TYPES.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def write_lm_studio_error(_: int, message: str) -> Any:
    """Return LM Studio's error, a string."""
    return {"error": message}


def write_litellm_error(status: int, message: str) -> Any:
    """Return the error of LiteLLM's proxy: the exception of Python in the sentence."""
    kind = _LITELLM_TYPES.get(status, "invalid_request_error" if status == 408 else None)
    sentence = f"litellm.APIError: APIError: OpenAIException - {message}"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": str(status)}}


def _describe_python_error(status: int, message: str) -> dict[str, Any]:
    default = "BadRequestError" if status < 500 else "InternalServerError"
    kind = _PYTHON_TYPES.get(status, default)
    return {"message": message, "type": kind, "param": None, "code": status}
