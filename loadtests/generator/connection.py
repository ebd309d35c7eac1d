"""How a plan's requests reach the server, and what the server must be for that."""

import http.client
import json
from typing import Any

from cospec_client import Client, InvalidRequest
from cospec_client.signatures import INPUTS, MODEL
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from loadtests.bad_input import BadInput
from loadtests.generator.http_transport import HttpTransport
from loadtests.generator.plan import GRPC, HTTP_STREAM, UNTOLD, Plan
from loadtests.objectives import Objectives

PATIENCE = 5.0  # seconds for a question about the server
SLO_CLASS = "slo_class"


def connect(plan: Plan, address: str, timeout: float = 120.0) -> Client:
    """`address`: host:port of what the plan's protocol speaks to."""
    if plan.protocol == GRPC:
        return Client(address, timeout)
    return Client(address, timeout, HttpTransport(address, timeout, streaming=plan.protocol == HTTP_STREAM))


def bare_address(host: str) -> str:
    """Without a scheme, which Locust's users write by habit."""
    return host.removeprefix("http://").removeprefix("grpc://").rstrip("/")


def promises_of(
    plan: Plan, client: Client, objectives: Objectives, inputs: frozenset[str]
) -> dict[str, dict[str, object]]:
    """Class -> what its requests tell the server of it: its limits, and its name where the server knows that too; of
    no class anything, if the plan tells no promises.

    `inputs`: the server's. Raises `CospecError` if it does not answer.
    """
    if plan.promises == UNTOLD:
        return {}
    limits = {"slo_ttft_ms": "ttft_ms", "slo_tpot_ms": "tpot_ms"}
    promises: dict[str, dict[str, object]] = {}
    for objective in objectives.classes:
        told = {name: getattr(objective, limit) for name, limit in limits.items() if name in inputs}
        promises[objective.name] = {name: value for name, value in told.items() if value}
        if SLO_CLASS in inputs and _knows_class(client, objective.name):
            promises[objective.name][SLO_CLASS] = objective.name
    return promises


def _knows_class(client: Client, name: str) -> bool:
    try:
        client.generate("Hello", max_tokens=1, **{SLO_CLASS: name})
    except InvalidRequest:
        return False
    return True


def model_inputs(plan: Plan, address: str) -> frozenset[str]:
    """The server's, as far as this client knows them too. Raises `BadInput` if it is not there, or not CoSpec's."""
    metadata = _grpc_metadata(address) if plan.protocol == GRPC else _http_metadata(address)
    inputs = {tensor["name"] for tensor in metadata.get("inputs", ())}
    if "speculation" not in inputs:
        raise BadInput(f"the model {MODEL!r} at {address} is not CoSpec's: it has no input 'speculation'")
    return frozenset(inputs & INPUTS.keys())


def _grpc_metadata(address: str) -> Any:
    try:
        with InferenceServerClient(address) as client:
            return client.get_model_metadata(MODEL, as_json=True, client_timeout=PATIENCE)
    except InferenceServerException as error:
        if "NOT_FOUND" in str(error.status()) or "unknown model" in str(error.message()):
            raise _no_model(address) from None
        raise BadInput(f"no server answers gRPC at {address}: {str(error.message()).splitlines()[0]}") from None


def _http_metadata(address: str) -> Any:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", f"/v2/models/{MODEL}")
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BadInput(f"no server answers HTTP at {address}: {error}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise _no_model(address)
    return json.loads(content)


def _no_model(address: str) -> BadInput:
    return BadInput(f"the server at {address} has no model {MODEL!r} that is ready")
