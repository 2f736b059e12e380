"""The parts of the service that the APIs use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.accounts.accounts import Accounts
from service.accounts.audit import Audit
from service.accounts.services import AccountServices
from service.api.chat.open_sockets import OpenSockets
from service.api.middleware.origins import Origins
from service.ensembles.catalog import Catalog
from service.limits.limiter import Limiter
from service.llm.endpoints.endpoints import Endpoints
from service.runs.runs import Runs
from service.store.store import Store
from telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDependencies:
    """Passed to every `install(app, api)`.

    `catalog` returns the current ensembles: the file may have changed since the last call.
    """

    runs: Runs
    store: Store
    telemetry: Telemetry
    catalog: Callable[[], Catalog]
    sockets: OpenSockets
    origins: Origins
    audit: Audit
    accounts: Accounts
    endpoints: Endpoints
    account_services: AccountServices
    limiter: Limiter
