"""Names, types and shapes of every model's tensors, once. `render.py` makes `config.pbtxt` of them.

Verifier and drafters take rows: the batch dimension counts sequences, so one call carries many, and Triton's dynamic
batcher joins calls. Lengths differ between calls (`ragged`); inside a call, shorter rows are padded with `PADDING`.
"""

from dataclasses import dataclass
from enum import IntEnum

PADDING = -1


@dataclass(frozen=True)
class TensorSpec:
    """`dims` without the batch dimension; -1 is a free length."""

    name: str
    dtype: str  # a Triton type without TYPE_: INT32, FP32, STRING ...
    dims: tuple[int, ...] = (1,)
    optional: bool = False
    ragged: bool = False


@dataclass(frozen=True)
class ModelSignature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class RowColumn(IntEnum):
    """Columns of the input `row`: a sequence's whole numbers in one tensor, since each tensor of a call costs time."""

    OPERATION = 0
    SESSION_ID = 1  # uint64, as the int64 of the same bits
    COMMITTED_LENGTH = 2
    SEED = 3  # uint64, as the int64 of the same bits
    TOP_K = 4
    EOS_ALLOWED_FROM = 5
    NUM_TOKENS = 6  # to draft, or for the verifier to generate where no nodes are given
    SCORE_CONTEXT = 7  # drafters only, as all that follow
    WIDTH = 8
    BRANCHING = 9


class RealColumn(IntEnum):
    """Columns of the input `reals`: a sequence's other numbers."""

    TEMPERATURE = 0
    TOP_P = 1
    STOP_BELOW = 2  # drafters only, as all that follow
    SLOPE = 3
    INTERCEPT = 4


class Operation(IntEnum):
    ADVANCE = 0  # verify or draft
    RELEASE = 1  # free the session's slot


class ResultColumn(IntEnum):
    """Columns of the output `result`."""

    STATUS = 0
    COMMITTED_LENGTH = 1  # verifier only
    NUM_TOKENS = 2


_ROW_INPUTS = (
    TensorSpec("row", "INT64", (len(RowColumn),)),
    TensorSpec("reals", "FP32", (len(RealColumn),)),
    TensorSpec("context", "INT32", (-1,), ragged=True),
)

VERIFIER = ModelSignature(
    inputs=(
        *_ROW_INPUTS,
        TensorSpec("node_tokens", "INT32", (-1,), ragged=True),
        TensorSpec("node_parents", "INT32", (-1,), ragged=True),
    ),
    outputs=(
        TensorSpec("result", "INT32", (len(ResultColumn),)),
        TensorSpec("tokens", "INT32", (-1,)),  # accepted tokens, then the bonus token
        TensorSpec("path", "INT32", (-1,)),  # accepted nodes
    ),
)

DRAFTER = ModelSignature(
    inputs=_ROW_INPUTS,
    outputs=(
        TensorSpec("result", "INT32", (len(ResultColumn),)),
        TensorSpec("tokens", "INT32", (-1,)),  # of the draft tree's nodes
        TensorSpec("parents", "INT32", (-1,)),
        TensorSpec("margins", "FP32", (-1,)),
        TensorSpec("context_log_likelihood", "FP32", (1,)),
    ),
)

ORCHESTRATOR = ModelSignature(
    inputs=(
        TensorSpec("text_input", "STRING"),
        TensorSpec("max_tokens", "INT32", optional=True),
        TensorSpec("min_tokens", "INT32", optional=True),
        TensorSpec("stream", "BOOL", optional=True),
        TensorSpec("temperature", "FP32", optional=True),
        TensorSpec("top_k", "INT32", optional=True),
        TensorSpec("top_p", "FP32", optional=True),
        TensorSpec("seed", "UINT64", optional=True),
        TensorSpec("stop_words", "STRING", (-1,), optional=True),
        TensorSpec("ignore_eos", "BOOL", optional=True),
        TensorSpec("exclude_input_in_output", "BOOL", optional=True),
        TensorSpec("sampling_parameters", "STRING", optional=True),
        TensorSpec("speculation", "STRING", optional=True),
        TensorSpec("slo_class", "STRING", optional=True),
        TensorSpec("slo_ttft_ms", "FP32", optional=True),
        TensorSpec("slo_tpot_ms", "FP32", optional=True),
        TensorSpec("traceparent", "STRING", optional=True),
        TensorSpec("return_num_input_tokens", "BOOL", optional=True),
        TensorSpec("return_num_output_tokens", "BOOL", optional=True),
        TensorSpec("return_finish_reason", "BOOL", optional=True),
        TensorSpec("return_perf_metrics", "BOOL", optional=True),
    ),
    outputs=(
        TensorSpec("text_output", "STRING"),
        TensorSpec("num_input_tokens", "UINT32"),
        TensorSpec("num_output_tokens", "UINT32"),
        TensorSpec("finish_reason", "STRING"),
        TensorSpec("stop_reason", "STRING"),
        TensorSpec("perf_metrics", "STRING"),
    ),
)
