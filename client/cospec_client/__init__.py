"""Client of a CoSpec server.

from cospec_client import Client

with Client("localhost:8001") as client:
    for chunk in client.stream("def fib(n):", max_tokens=48, temperature=0):
        print(chunk.text, end="", flush=True)
"""

from cospec_client.client import Client
from cospec_client.errors import CospecError, InvalidRequest, RequestTimeout, ServerError, Unavailable
from cospec_client.recording import Recorder, record
from cospec_client.types import Chunk, Generation, PerfMetrics

__all__ = [
    "Chunk",
    "Client",
    "CospecError",
    "Generation",
    "InvalidRequest",
    "PerfMetrics",
    "Recorder",
    "RequestTimeout",
    "ServerError",
    "Unavailable",
    "record",
]
