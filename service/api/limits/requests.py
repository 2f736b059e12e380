"""The limits of a request: taken before its handler, or when it is known which run it starts.

The body of a request that is refused is not read: limits are taken as soon as the route is known.
Two kinds of requests are decided when their run starts: those with a rule that depends on the
ensemble, and those that may attach to an existing run, which counts as no further request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from quart import Quart, Response, g, request, websocket

from service.access.addresses import is_loopback
from service.access.principal import Principal
from service.accounts.audit import Audit
from service.api.dependencies import ApiDependencies
from service.api.http.principal import current_principal, use_of
from service.api.limits.headers import list_headers, refuse
from service.api.limits.open_streams import hold
from service.api.middleware.forwarded import is_direct
from service.api.openapi.operation import RouteUse
from service.domain import RunRequest
from service.limits.counters import Outcome
from service.limits.limiter import Limiter, Permit
from service.limits.rules import AppliedRule
from service.limits.use import Use
from service.runs.prepare import RunStart
from service.runs.run import Run
from service.runs.runs import Runs
from service.runs.settings import IdempotencyKey
from telemetry import Telemetry

_OPENAI: Final = "/v1/"
# A request with one of these may attach to an existing run.
_ATTACHING: Final = ("Idempotency-Key", "Last-Event-ID")


class RequestAdmission:
    """The limits of one request, or of one message on a WebSocket.

    `hold` receives each permit, which it releases at the end of the response.
    """

    def __init__(self, limits: RequestLimits, use: Use, hold: Callable[[Permit], None]) -> None:
        self._limits = limits
        self._use = use
        self._hold = hold
        self.outcome: Outcome | None = None

    @property
    def needs_run(self) -> bool:
        """Whether the limits depend on the run that the request starts."""
        return self._limits.limiter.needs_ensemble(self._use)

    async def admit(self, ensemble: str | None = None) -> None:
        """Take from the limits of the request, once. Raises RequestError 429."""
        if self.outcome is None:
            name = self._limits.find_ensemble(ensemble) if ensemble is not None else None
            await self._take(self._limits.limiter.find_rules(self._use, name))

    async def attach(self) -> None:
        """Count the answer of an existing run as an open stream. Raises RequestError 429."""
        if self.outcome is None or not self._use.is_answer:
            use = replace(self._use, is_answer=True, starts_run=False)
            rules = self._limits.limiter.find_rules(use)
            await self._take([each for each in rules if each.kind == "streams"])

    async def _take(self, rules: Sequence[AppliedRule]) -> None:
        permit = await self._limits.take(rules, self._use.principal)
        self._hold(permit)
        earlier = self.outcome.states if self.outcome else ()
        outcome = permit.outcome
        self.outcome = replace(outcome, states=[*earlier, *outcome.states])
        if outcome.refused_by:
            raise refuse(outcome.refused_by, datetime.now(UTC))


class RequestLimits:
    """Takes from limits; counts the decisions, and records refusals in the audit log."""

    def __init__(self, api: ApiDependencies) -> None:
        self.limiter: Limiter = api.limiter
        self._audit: Audit = api.audit
        self._telemetry: Telemetry = api.telemetry
        self._catalog = api.catalog

    async def take(self, rules: Sequence[AppliedRule], principal: Principal) -> Permit:
        """Take one from every limit if each has a rest, else from none."""
        if not rules:
            return Permit(Outcome(()), lambda: None)
        permit = await self.limiter.take(rules)
        refused = permit.outcome.refused_by
        if self.limiter.uses_redis and not permit.outcome.is_shared:
            self._telemetry.record_limit_fallback()
        for each in rules:
            is_refused = bool(refused and refused.rule == each)
            if is_refused or not refused:
                self._telemetry.record_limit(each.kind, each.name, is_refused=is_refused)
        if refused:
            self._audit.record(
                "limit.hit",
                principal,
                refused.rule.name,
                kind=refused.rule.kind,
                limit=refused.limit,
            )
        return permit

    def find_ensemble(self, name: str) -> str:
        """Return the name of an ensemble; for "" that of the default one."""
        return name or self._catalog().default

    @contextmanager
    def for_message(self, principal: Principal) -> Iterator[RequestAdmission]:
        """Limit a message on the current WebSocket; its answer is open until the block ends."""
        permits: list[Permit] = []
        try:
            yield RequestAdmission(self, _use_of(websocket, principal, "run"), permits.append)
        finally:
            for permit in permits:
                permit.release()


def install(app: Quart, api: ApiDependencies) -> None:
    """Limit every request of `app`, and add the headers of limits to its responses."""
    limits = RequestLimits(api)

    async def check() -> None:
        counted = _find_use(app)
        if counted == "free":
            return
        scope = request.scope
        use = _use_of(request, current_principal(), counted)
        admission = g.admission = RequestAdmission(limits, use, lambda permit: hold(scope, permit))
        may_attach = any(name in request.headers for name in _ATTACHING)
        if not use.starts_run or not (may_attach or admission.needs_run):
            await admission.admit()

    async def add_headers(response: Response) -> Response:
        admission: RequestAdmission | None = g.get("admission")
        if admission and admission.outcome and admission.outcome.states:
            is_openai = request.path.startswith(_OPENAI)
            headers = list_headers(admission.outcome, datetime.now(UTC), openai=is_openai)
            response.headers.update(headers)
        return response

    app.before_request(check)
    app.after_request(add_headers)


def current_admission() -> RequestAdmission:
    """Return the limits of the current request."""
    admission: RequestAdmission = g.admission
    return admission


async def start_run(runs: Runs, question: RunRequest, key: IdempotencyKey | None = None) -> Run:
    """Start the run of the current request within its limits, or return that of `key`.

    Raises what `Runs.start` raises, and RequestError 429.
    """
    admission = current_admission()
    run = await runs.start(question, key, admission.admit)
    await admission.attach()
    return run


async def open_run(runs: Runs, start: RunStart) -> Run:
    """Start a prepared run of the current request within its limits.

    Raises what `Runs.open` raises, and RequestError 429.
    """
    admission = current_admission()
    run = await runs.open(start, admission.admit)
    await admission.attach()
    return run


async def start_retry(runs: Runs, run_id: str, principal: Principal) -> Run:
    """Start the run that retries another one, within the limits of the current request.

    Raises what `Runs.retry` raises, and RequestError 429.
    """
    admission = current_admission()
    run = await runs.retry(run_id, principal, admission.admit)
    await admission.attach()
    return run


def _find_use(app: Quart) -> RouteUse:
    """Return what the limits of the current request count; nothing for a browser's preflight."""
    rule = request.url_rule
    if rule is None or request.method == "OPTIONS":
        return "free"
    return use_of(app.view_functions[rule.endpoint])


def _use_of(received: Any, principal: Principal, use: RouteUse) -> Use:
    return Use(
        principal=principal,
        starts_run=use == "run",
        is_answer=use in ("run", "events"),
        is_local=is_loopback(principal.address) and is_direct(received.scope),
    )
