"""Every metric that the server publishes, once: name, kind, labels, meaning, buckets. The README's table says the same.

Names are vLLM's where it has one, behind another prefix; buckets are vLLM's too, with finer ones below, since a small
model's token takes less than the first of them.
"""

from dataclasses import dataclass
from enum import Enum

PREFIX = "cospec:"


class Kind(str, Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, eq=False)  # compared by identity: they are keys on the round loop's path
class Metric:
    name: str  # without the prefix
    kind: Kind
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


# fmt: off
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
                80.0, 160.0, 640.0, 2560.0)
_PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
              10.0, 20.0, 40.0, 80.0)
_PER_REQUEST = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0,
                30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0)
# fmt: on


def _counter(name: str, description: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, description, labels)


def _gauge(name: str, description: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, description, labels)


def _seconds(name: str, description: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, Kind.HISTOGRAM, description, buckets=buckets)


# Requests.
ADMITTED = _counter("request_admitted_total", "Requests taken in")
REJECTED = _counter("request_rejected_total", "Requests refused at once: invalid, overloaded", "reason")
SUCCEEDED = _counter("request_success_total", "Requests answered: stop, length, cancelled", "finished_reason")
FAILED = _counter("request_failure_total", "Requests taken in and ended by an error")
RUNNING = _gauge("num_requests_running", "Requests that hold a slot of the verifier's KV cache")
WAITING = _gauge("num_requests_waiting", "Requests that wait for one")
PROMPT_TOKENS = _counter("prompt_tokens_total", "Prompt tokens of the requests taken in")
GENERATION_TOKENS = _counter("generation_tokens_total", "Tokens generated")

# Latencies, on the server's clock.
TTFT = _seconds("time_to_first_token_seconds", "From a request's arrival to its first token", _FIRST_TOKEN)
TPOT = _seconds(
    "request_time_per_output_token_seconds", "(latency - time to first token) / (output tokens - 1)", _PER_TOKEN
)
INTER_CHUNK = _seconds("inter_token_latency_seconds", "Between two chunks of a request's tokens", _PER_TOKEN)
LATENCY = _seconds("e2e_request_latency_seconds", "From a request's arrival to its last token", _PER_REQUEST)
QUEUE_TIME = _seconds("request_queue_time_seconds", "From a request's arrival to its first round", _PER_REQUEST)
SLO_ATTAINED = _counter(
    "slo_attained_total", "Requests whose promises were all kept; class `request`: they named their own", "slo_class"
)
SLO_MISSED = _counter("slo_missed_total", "Requests of which one was not; the failed and cancelled too", "slo_class")

# Speculation.
ROUNDS = _counter("rounds_total", "Rounds of the loop, of one group each: drafted, plain", "kind")
STAGE_SECONDS = _counter("round_seconds_total", "What rounds took: draft, verify", "stage")
NUM_DRAFTS = _counter("spec_decode_num_drafts_total", "Drafts verified, one a request and round")
NUM_DRAFT_TOKENS = _counter("spec_decode_num_draft_tokens_total", "Draft tokens verified")
NUM_ACCEPTED = _counter("spec_decode_num_accepted_tokens_total", "Draft tokens accepted")
ACCEPTED_AT = _counter(
    "spec_decode_num_accepted_tokens_per_pos_total", "Draft tokens accepted, by place in the draft from 0", "position"
)
DRAFTER_TOKENS = _counter(
    "drafter_tokens_total", "Draft tokens verified, by who proposed them; two may propose the same", "drafter"
)
DRAFTER_ACCEPTED = _counter("drafter_accepted_tokens_total", "Of these, the accepted", "drafter")
DRAFTER_CALLS = _counter("drafter_calls_total", "Calls to a drafter that were answered", "drafter")
DRAFTER_SECONDS = _counter("drafter_call_seconds_total", "Their round trips, transport included", "drafter")
DRAFTER_FAILURES = _counter("drafter_failures_total", "Calls to a drafter that failed or came too late", "drafter")
REPLICAS_UP = _gauge("drafter_replicas_up", "Servers of a drafter that answer; 1 if it is this server's own", "drafter")

# What was chosen.
PLANS = _counter("plans_total", "Plans, one a request and round, by kind of drafting", "method")
PLANNED_DEPTH = _counter("planned_depth_total", "Depth of the drafts planned, summed", "method")
PLANNED_DRAFTERS = _counter("planned_drafters_total", "Drafters asked, summed", "method")

# The verifier and the KV caches, as their own processes see them.
VERIFY_BATCHES = _counter("verify_batches_total", "Calls of the verifier's engine, by sequences in it", "sequences")
VERIFY_SEQUENCES = _counter("verify_sequences_total", "Sequences in these calls")
VERIFY_TOKENS = _counter("verify_tokens_total", "Tokens read in these calls, prompts and drafts included")
VERIFIER_FAILURES = _counter("verifier_failures_total", "Calls to a verifier that failed or came too late", "model")
KV_SLOTS = _gauge("kv_slots", "Slots of a KV cache", "model")
KV_SLOTS_USED = _gauge("kv_slots_used", "Of these, taken by a session", "model")
KV_TOKENS = _gauge("kv_tokens", "Tokens that a KV cache can hold", "model")
KV_TOKENS_USED = _gauge("kv_tokens_used", "Of these, held", "model")

# The metrics themselves.
OWN_SECONDS = _counter("metrics_cpu_seconds_total", "Processor time of publishing all this", "model")

CATALOGUE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
