"""The tables of `ensembles.toml`: their keys, with types and defaults."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

DEFAULT_HEDGE = 0.05  # a part of the calls

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        words = "must be 1 to 64 letters, digits and . _ -, the first one a letter or a digit"
        raise PydanticCustomError("name", words)
    return value


Name = Annotated[str, AfterValidator(_check_name)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _read_grace(value: object) -> object:
    if value in ("auto", "none"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400:
        return float(value)
    raise PydanticCustomError("grace", 'must be "auto", "none" or seconds from 0 to 86400')


Grace = Annotated[float | Literal["auto", "none"], PlainValidator(_read_grace)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class PriceTable(_Table):
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    reasoning: float | None = Field(default=None, ge=0)
    image: float | None = Field(default=None, ge=0)


class AgentTable(_Table):
    model: str | None = Field(default=None, min_length=1)
    base_url: str | None = None
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    key_header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]+(: [A-Za-z]+)?$")
    hedge_base_url: str | None = None
    hedge_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    hedge_model: str | None = Field(default=None, min_length=1)
    provider: Name | None = None
    prompt: str = Field(default="", max_length=100_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    context_tokens: int | None = Field(default=None, ge=1)
    stream: bool = True
    stream_options: bool = True
    first_token_timeout_s: Seconds | None = None
    idle_timeout_s: Seconds | None = None
    timeout_s: Seconds | None = None
    retries: int = Field(default=2, ge=0, le=10)
    fallbacks: list[Annotated[str, Field(min_length=1)]] = []
    extra_body: dict[str, Any] = {}
    content_parts: list[str] | None = None
    think_tags: Literal["auto", "open", "off"] = "auto"
    continues_by: Literal["auto", "prefix", "instruction"] = "auto"


class EndpointTable(_Table):
    hedge: float = Field(default=DEFAULT_HEDGE, ge=0, le=1)
    breaker: bool = True
    rpm: int | None = Field(default=None, ge=1)
    tpm: int | None = Field(default=None, ge=1)
    parallel: int | None = Field(default=None, ge=1)


class EnsembleTable(_Table):
    strategy: str = "synthesize"
    agents: list[Name] | None = Field(default=None, min_length=1, max_length=64)
    combiner: Name | None = None
    judge: Name | None = None
    chair: Name | None = None
    layers: list[Annotated[list[Name], Field(min_length=1, max_length=64)]] | None = Field(
        default=None, min_length=1, max_length=8
    )
    analyse: bool | None = None
    provenance: bool = False
    tools_policy: Literal["primary", "vote", "combiner"] | None = None
    min_answers: int = Field(default=1, ge=1)
    straggler_grace_s: Grace = "auto"
    straggler_max_s: Seconds | None = None
    timeout_s: Seconds | None = None
    max_cost_usd: float | None = Field(default=None, gt=0)
    continues: int = Field(default=2, ge=0, le=10, alias="continue")
    seed: str | None = Field(default=None, min_length=1, max_length=100)


class EnsemblesTable(_Table):
    default: Name = "fanout"
    agents: dict[Name, AgentTable]
    ensembles: dict[Name, EnsembleTable] = Field(min_length=1)
    prices: dict[str, PriceTable] = {}
    endpoints: dict[str, EndpointTable] = {}
