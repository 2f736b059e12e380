"""Every name that this service gives to a span, attribute, event or metric, with unit and source.

The GenAI conventions are in development and names still change: change a name only here.

Sources:
    HTTP     https://opentelemetry.io/docs/specs/semconv/http/ (stable)
    DB       https://opentelemetry.io/docs/specs/semconv/db/ (stable)
    process  https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
    GenAI    https://github.com/open-telemetry/semantic-conventions-genai (development)
    ours     `app.*`, `run.id`, `fanout_*`, `journal_*`, `store_*`, `limit_*`: no convention
"""

from typing import Final

from telemetry.instrument import Instrument, counter, duration_histogram, exponential_buckets, gauge

OTHER: Final = "_OTHER"
"""The value that the HTTP and GenAI conventions use for anything outside the known set."""

# --- HTTP and general attributes (stable) ---
HTTP_METHOD: Final = "http.request.method"
HTTP_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_RESPONSE_BYTES: Final = "http.response.body.size"  # bytes sent; development
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
PROTOCOL_VERSION: Final = "network.protocol.version"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
SERVICE_INSTANCE_ID: Final = "service.instance.id"  # unique for each worker and each start
PROCESS_PID: Final = "process.pid"
KNOWN_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}
)

# --- database attributes (stable) ---
DB_SYSTEM: Final = "db.system.name"  # sqlite, postgresql or redis
DB_OPERATION: Final = "db.operation.name"  # the purpose of a transaction, not its statements

# --- GenAI attributes (development) ---
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
# Message content as JSON, recorded only after the standard opt-in:
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

OPERATION_WORKFLOW: Final = "invoke_workflow"
OPERATION_AGENT: Final = "invoke_agent"
OPERATION_CHAT: Final = "chat"
TYPE_INPUT: Final = "input"  # values of the token_type label
TYPE_OUTPUT: Final = "output"
KNOWN_PROVIDERS: Final = frozenset(
    {"openai", "groq", "anthropic", "azure.ai.openai", "aws.bedrock", "cohere", "deepseek"}
    | {"gcp.gemini", "gcp.vertex_ai", "ibm.watsonx.ai", "mistral_ai", "perplexity", "x_ai", "mock"}
)

# --- ours ---
RUN_ID: Final = "run.id"
OUTCOME: Final = "app.outcome"
CANCELLED: Final = "app.cancelled"  # stopped on purpose: the status stays unset
CLIENT_DISCONNECTED: Final = "app.client_disconnected"
COST_USD: Final = "app.cost_usd"
CONFIG_HASH: Final = "app.config_hash"
AGENTS: Final = "app.agents"
ATTEMPT: Final = "app.attempt"  # 1 for the first
HEDGE: Final = "app.hedge"  # true for a request that repeats one whose first token was late
CHUNKS: Final = "app.chunks"
STEP: Final = "app.step"  # of a strategy, such as judge
REQUEST_ID: Final = "app.request_id"
DROPPED_MESSAGES: Final = "app.dropped_messages"
DEGRADED_BY: Final = "app.degraded_by"  # of a degraded answer: agents, combiner, or both
MISSING_AGENTS: Final = "app.missing_agents"  # those that failed or were skipped

# --- span events; never one per token ---
EVENT_RETRY: Final = "app.retry"
EVENT_STEP_DOWN: Final = "app.step_down"
EVENT_STRAGGLER_CUT: Final = "app.straggler_cut"
EVENT_HEDGE: Final = "app.hedge"
EVENT_HEDGE_REFUSED: Final = "app.hedge_refused"
EVENT_HEDGE_ENDED: Final = "app.hedge_ended"
EVENT_FIRST_OUTPUT: Final = "app.first_output"
EVENT_GATE: Final = "app.gate"
EVENT_BUDGET_REFUSED: Final = "app.budget_refused"
AGREEMENT: Final = "app.agreement"  # of the agents, 0 to 1
EVENT_CONTEXT_TRIMMED: Final = "app.context_trimmed"
EVENT_CONTINUED: Final = "app.continued"
EVENT_CALL_REFUSED: Final = "app.call_refused"
EVENT_LIMIT_WAIT: Final = "app.limit_wait"
REASON: Final = "app.reason"  # an error code, a decision, or the reason an agent was cut off
AGENT: Final = "app.agent"  # the agent that was cut off or replaced
POSITION: Final = "app.position"  # of a seam, in characters of the answer
PHASE: Final = "app.phase"  # the limit that a straggler exceeded
DELAY: Final = "app.delay_s"  # seconds until the next attempt, before a hedge, or of a wait


# --- metrics ---
HTTP_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0),  # added to the convention's bounds, since streams take longer
)
CALL_BUCKETS: Final = exponential_buckets(0.01, 81.92)
AGENT_BUCKETS: Final = exponential_buckets(0.1, 409.6)
WORKFLOW_BUCKETS: Final = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
LAG_BUCKETS: Final = exponential_buckets(0.001, 8.192)
STORE_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
TOKEN_BUCKETS: Final = tuple(float(4**k) for k in range(14))  # 1 to 67108864
CALL_LABELS: Final = ("operation", "provider", "request_model", "response_model")


REQUEST_DURATION: Final = duration_histogram(
    "http_server_request_duration_seconds",
    "Time from the request's arrival to the last byte sent.",
    ("method", "route", "status_code", "error_type"),
    HTTP_BUCKETS,
)
ACTIVE_REQUESTS: Final = gauge(
    "http_server_active_requests", "Requests in progress, until their last byte is sent.", "method"
)
CALL_DURATION: Final = duration_histogram(
    "gen_ai_client_operation_duration_seconds",
    "Time of one call to a model, to its last chunk.",
    (*CALL_LABELS, "error_type"),
    CALL_BUCKETS,
)
CALL_FIRST_CHUNK: Final = duration_histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Time from sending a call to its first chunk.",
    CALL_LABELS,
    CALL_BUCKETS,
)
CALL_PER_CHUNK: Final = duration_histogram(
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "Mean time between the chunks of one call, observed once per call.",
    CALL_LABELS,
    CALL_BUCKETS,
)
TOKEN_USAGE: Final = Instrument(
    name="gen_ai_client_token_usage",
    kind="histogram",
    help="Tokens of one call, as the provider reports them.",
    labels=(*CALL_LABELS, "token_type"),
    buckets=TOKEN_BUCKETS,
)
AGENT_DURATION: Final = duration_histogram(
    "gen_ai_invoke_agent_duration_seconds",
    "Time of one agent, including all its attempts.",
    ("agent", "model", "error_type"),
    AGENT_BUCKETS,
)
WORKFLOW_DURATION: Final = duration_histogram(
    "gen_ai_invoke_workflow_duration_seconds",
    "Time of one run.",
    ("workflow", "error_type"),
    WORKFLOW_BUCKETS,
)
FIRST_OUTPUT: Final = duration_histogram(
    "fanout_time_to_first_output_seconds",
    "Time from the start of a run to the first piece of its answer.",
    ("workflow",),
    CALL_BUCKETS,
)
AGENT_OUTCOMES: Final = counter(
    "fanout_agent_outcomes_total", "Agents called, by outcome.", "agent", "outcome"
)
RUNS: Final = counter("fanout_runs_total", "Runs that ended, by outcome.", "workflow", "outcome")
DEGRADED_RUNS: Final = counter(
    "fanout_degraded_runs_total",
    "Runs completed with a degraded answer, once for each reason.",
    "workflow",
    "reason",
)
REASONS_OF_DEGRADATION: Final = ("agents", "combiner", "judge")
OUTCOMES_OF_RUNS: Final = ("completed", "failed", "cancelled")
OUTCOMES_OF_AGENTS: Final = ("answered", "failed", "skipped", "cancelled")
RETRIES: Final = counter("fanout_retries_total", "Calls that were retried.", "agent", "reason")
HEDGES: Final = counter(
    "fanout_hedges_total", "Calls that were sent a second time, by result.", "agent", "reason"
)
REFUSED_HEDGES: Final = counter(
    "fanout_refused_hedges_total", "Late calls that exceeded the limit on hedges.", "agent"
)
REASONS_OF_HEDGES: Final = ("won", "lost", "failed", "cancelled")
STRAGGLER_CUTS: Final = counter(
    "fanout_straggler_cuts_total",
    "Agents that were cut off, by the limit that they exceeded.",
    "agent",
    "reason",
)
REASONS_OF_CUTS: Final = ("first_token", "silence", "length", "limit", "grace", "cost")
STEP_DOWNS: Final = counter(
    "fanout_step_downs_total", "Times a weaker model or answer was used.", "agent", "reason"
)
GATE_OUTCOMES: Final = counter(
    "fanout_gate_outcomes_total",
    "Decisions of the strategy auto: single, vote or combine.",
    "workflow",
    "outcome",
)
FEEDBACK: Final = counter(
    "fanout_feedback_total",
    "Ratings received, by what they rate, answer or agent, and by kind.",
    "subject",
    "kind",
)
SUBJECTS_OF_FEEDBACK: Final = ("answer", "agent")
KINDS_OF_FEEDBACK: Final = ("score", "thumb", "comment", "better")
COST: Final = counter(
    "fanout_cost_usd_total", "Money spent on models, in US dollars.", "agent", "model", unit="usd"
)
INFLIGHT_RUNS: Final = gauge("fanout_inflight_runs", "Runs that have not ended.")
OPEN_STREAMS: Final = gauge("fanout_open_streams", "Event streams open to clients.")
DISCONNECTS: Final = counter(
    "fanout_client_disconnects_total", "Streams whose client left before the end."
)
RESUMES: Final = counter("fanout_resumes_total", "Streams that reconnected to a run.")
CONTEXT_TRIMS: Final = counter(
    "fanout_context_trims_total",
    "Times the oldest messages were dropped to fit the context window.",
    "agent",
)
RESERVATIONS: Final = counter(
    "fanout_reservations_total",
    "Runs with a budget: reserved, refused, settled, and calls that were refused.",
    "outcome",
)
OUTCOMES_OF_RESERVATIONS: Final = ("reserved", "refused", "call_refused", "settled")
RECOVERIES: Final = counter(
    "fanout_recoveries_total", "Unfinished runs that recovery ended.", "outcome"
)

# --- calls that an endpoint's circuit or limits delay or refuse ---
CONTINUATIONS: Final = counter(
    "fanout_continuations_total",
    "Answers that broke off and were continued, by error code.",
    "agent",
    "reason",
)
OPEN_CIRCUITS: Final = gauge(
    "fanout_open_circuits",
    "Models that are not called, or only for a probe, because their server failed.",
    "provider",
    "model",
)
CIRCUIT_CHANGES: Final = counter(
    "fanout_circuit_changes_total",
    "Changes of circuits, by new state.",
    "provider",
    "model",
    "state",
)
REFUSED_CALLS: Final = counter(
    "fanout_refused_calls_total",
    "Calls not sent, by circuit_open or the limit: rpm, tpm, parallel or paused.",
    "provider",
    "model",
    "reason",
)
LIMIT_WAIT: Final = duration_histogram(
    "fanout_limit_wait_seconds",
    "Time that calls waited for a limit of their endpoint.",
    ("provider", "reason"),
    CALL_BUCKETS,
)

# --- limits ---
LIMIT_REQUESTS: Final = counter(
    "limit_requests_total",
    "Requests that a limit accepted or refused.",
    "kind",
    "rule",
    "outcome",
)
LIMIT_FALLBACKS: Final = counter(
    "limit_fallbacks_total",
    "Requests that a process limited by its own share because Redis was unavailable.",
)

# --- the store, and the journal of events that are not written to it yet ---
STORE_DURATION: Final = duration_histogram(
    "db_client_operation_duration_seconds",
    "Time of one store operation, including the wait for a connection.",
    ("system", "operation", "error_type"),
    STORE_BUCKETS,
)
STORE_REJECTIONS: Final = counter(
    "store_rejections_total", "Requests rejected because the store was unavailable.", "reason"
)
JOURNAL_LAG: Final = duration_histogram(
    "journal_lag_seconds",
    "Age of a commit's oldest event when the commit was durable.",
    (),
    CALL_BUCKETS,
)
JOURNAL_FAILURES: Final = counter(
    "journal_failures_total", "Commits that failed; all but `other` are retried.", "reason"
)
JOURNAL_PENDING: Final = gauge("journal_pending_events", "Events that are not durable yet.")
JOURNAL_OLDEST: Final = gauge(
    "journal_oldest_pending_seconds",
    "Age of the oldest event not durable yet.",
    multiprocess_mode="livemax",
)

# --- this process; with several workers: their sum, and the earliest start ---
PROCESS_MEMORY: Final = gauge("process_resident_memory_bytes", "Memory in RAM, in bytes.")
PROCESS_CPU: Final = counter("process_cpu_seconds_total", "User and system CPU time, in seconds.")
PROCESS_OPEN_FDS: Final = gauge("process_open_fds", "Open file descriptors, sockets included.")
PROCESS_MAX_FDS: Final = gauge("process_max_fds", "File descriptors that may be open.")
PROCESS_START: Final = gauge(
    "process_start_time_seconds",
    "Start time of the process, in seconds since 1970.",
    multiprocess_mode="livemin",
)
LOOP_LAG: Final = duration_histogram(
    "event_loop_lag_seconds",
    "Delay of an event loop timer, observed four times a second.",
    (),
    LAG_BUCKETS,
)

# --- export by OTLP; signal: traces or logs; outcome: sent, failed or dropped ---
EXPORT_DURATION: Final = duration_histogram(
    "telemetry_export_duration_seconds",
    "Time to export one batch to the collector, including retries.",
    ("signal", "outcome"),
    CALL_BUCKETS,
)
EXPORT_ITEMS: Final = counter(
    "telemetry_export_items_total", "Spans or log records, by outcome.", "signal", "outcome"
)
EXPORT_QUEUE: Final = gauge(
    "telemetry_export_queue_items", "Spans or log records in the export queue.", "signal"
)
