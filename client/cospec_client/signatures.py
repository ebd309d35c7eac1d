"""The orchestrator's tensors, as a caller sends and reads them."""

MODEL = "orchestrator"

INPUTS = {
    "text_input": "BYTES",
    "max_tokens": "INT32",
    "min_tokens": "INT32",
    "stream": "BOOL",
    "temperature": "FP32",
    "top_k": "INT32",
    "top_p": "FP32",
    "seed": "UINT64",
    "stop_words": "BYTES",
    "ignore_eos": "BOOL",
    "exclude_input_in_output": "BOOL",
    "sampling_parameters": "BYTES",
    "speculation": "BYTES",
    "slo_class": "BYTES",
    "slo_ttft_ms": "FP32",
    "slo_tpot_ms": "FP32",
    "traceparent": "BYTES",
    "return_num_input_tokens": "BOOL",
    "return_num_output_tokens": "BOOL",
    "return_finish_reason": "BOOL",
    "return_perf_metrics": "BOOL",
}

OUTPUTS = ("text_output", "num_input_tokens", "num_output_tokens", "finish_reason", "stop_reason", "perf_metrics")
