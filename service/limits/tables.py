"""The tables of `limits.toml` and of the limits of a user or a key: their keys and types."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from service.ensembles.tables import Name
from service.limits.amounts import Amount, parse_amount, parse_money

Network = IPv4Network | IPv6Network


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _parse_network(value: object) -> Network:
    if not isinstance(value, str):
        raise ValueError("must be an address or a network, such as 10.0.0.0/8")
    try:
        return ip_network(value.strip())
    except ValueError:
        try:
            whole = ip_network(value.strip(), strict=False)
        except ValueError:
            raise ValueError("must be an address or a network, such as 10.0.0.0/8") from None
        raise ValueError(f"has bits beyond its prefix; the network is {whole}") from None


_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
_Roles = Annotated[
    tuple[Literal["admin", "user", "viewer"], ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
]
_Networks = Annotated[
    tuple[Annotated[InstanceOf[IPv4Network] | InstanceOf[IPv6Network],
                    BeforeValidator(_parse_network)], ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
]  # fmt: skip
_Count = Annotated[InstanceOf[Amount], BeforeValidator(parse_amount)]
_Money = Annotated[InstanceOf[Amount], BeforeValidator(parse_money)]


class _StrictTable(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class MatchTable(_StrictTable):
    """The callers and requests of a rule; of several keys all must match, of a list any."""

    role: _Roles = ()
    user: _Texts = ()
    key: _Texts = ()
    address: _Networks = ()
    route: _Texts = ()
    ensemble: _Texts = ()


class AllowanceTable(_StrictTable):
    """The limits of a rule; those stored with a user or a key have the same keys."""

    requests: _Count | None = None
    burst: int | None = Field(default=None, ge=1, le=1_000_000)
    streams: int | None = Field(default=None, ge=1, le=1_000_000)
    tokens: _Count | None = None
    cost_usd: _Money | None = None

    @model_validator(mode="after")
    def _burst_needs_requests(self) -> AllowanceTable:
        if self.burst and not self.requests:
            raise ValueError("burst applies only together with requests")
        return self


class RuleTable(AllowanceTable):
    name: Name | None = None
    match: MatchTable = MatchTable()

    @model_validator(mode="after")
    def _has_a_limit(self) -> RuleTable:
        if not (self.requests or self.streams or self.tokens or self.cost_usd):
            raise ValueError("has no limit: set requests, streams, tokens or cost_usd")
        return self


class LimitsTable(_StrictTable):
    rules: list[RuleTable] = []


def check_stored_limits(limits: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return limits as they are stored, None for an empty table.

    Raises ValueError with a sentence that names the key at fault.
    """
    try:
        AllowanceTable.model_validate(dict(limits))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"]))
        words = str(fault["msg"]).removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            words = "is not known; there are requests, burst, streams, tokens and cost_usd"
        raise ValueError(f"{where}: {words}" if where else words) from None
    return {name: value for name, value in limits.items() if value is not None} or None


def find_excess(limits: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """Return the first kind of `limits` that allows more than `own` in the same period."""
    given, allowed = AllowanceTable.model_validate(limits), AllowanceTable.model_validate(own)
    for kind in ("requests", "streams", "tokens", "cost_usd"):
        if _exceeds(getattr(given, kind), getattr(allowed, kind)):
            return kind
    return None


def _exceeds(given: Amount | int | None, allowed: Amount | int | None) -> bool:
    if isinstance(given, Amount) and isinstance(allowed, Amount):
        return given.period == allowed.period and given.count > allowed.count
    return isinstance(given, int) and isinstance(allowed, int) and given > allowed
