"""One server that has a drafter, called over gRPC: up until a call fails, and again when it answers a probe.

A node that is gone may take a deadline to say nothing. It must cost that once, so a probe beside the requests finds out
when it is back, on a connection of its own: the old one may wait for a network that has forgotten it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, KeepAliveOptions
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from cospec.config import RemoteDrafterSettings, TlsSettings
from cospec.signatures import ModelSignature
from cospec.speculation.sequence import CalleeError
from cospec.triton_io.rows import Arrays

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between two probes; doubled until a call succeeds
KEEPALIVE = KeepAliveOptions(keepalive_time_ms=20_000, keepalive_timeout_ms=5_000, keepalive_permit_without_calls=True)


class Replica:
    """Belongs to one event loop: the one that makes the first call."""

    def __init__(
        self,
        url: str,
        model_name: str,
        signature: ModelSignature,
        settings: RemoteDrafterSettings,
        log_warning: Callable[[str], None],
    ) -> None:
        """Raises OSError if a file of its TLS settings cannot be read."""
        self.url = url
        self.is_up = True
        self._model_name = model_name
        self._kinds = {spec.name: spec.dtype for spec in signature.inputs}
        self._outputs = [InferRequestedOutput(spec.name) for spec in signature.outputs]
        self._deadline = settings.deadline_seconds
        self._credentials = None if settings.tls is None else _credentials(settings.tls)
        self._log_warning = log_warning
        self._client: InferenceServerClient | None = None
        self._pause = FIRST_PAUSE
        self._probing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def call(self, inputs: Arrays, headers: dict[str, str] | None = None) -> Arrays:
        """Raises `CalleeError`, after which it is down."""
        if self._client is None:
            self._client = self._connect()
        try:
            answer = await self._client.infer(
                self._model_name,
                [self._input(name, array) for name, array in inputs.items()],
                outputs=self._outputs,
                client_timeout=self._deadline,
                headers=headers,
            )
        except InferenceServerException as error:
            raise self.fail(_sentence(error)) from None
        self._pause = FIRST_PAUSE
        return {output.name(): answer.as_numpy(output.name()) for output in self._outputs}

    def fail(self, reason: str) -> CalleeError:
        """It is down, until a probe succeeds."""
        if self.is_up:
            self.is_up = False
            self._log_warning(f"{self._model_name} at {self.url} is left out until it answers: {reason}")
            self._probing = asyncio.get_running_loop().create_task(self._probe())
        return CalleeError(f"{self._model_name} at {self.url} failed: {reason}")

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        if self._client is not None:
            await self._client.close()

    async def _close_later(self, client: InferenceServerClient) -> None:
        """When its last call has met its deadline: closing cancels calls, and whoever awaits one with them."""
        await asyncio.sleep(2 * self._deadline)
        await client.close()

    def _connect(self) -> InferenceServerClient:
        return InferenceServerClient(self.url, creds=self._credentials, keepalive_options=KEEPALIVE)

    def _input(self, name: str, array: NDArray[Any]) -> InferInput:
        return InferInput(name, list(array.shape), self._kinds[name]).set_data_from_numpy(array)

    async def _probe(self) -> None:
        old, self._client = self._client, None
        if old is not None:
            self._closing = asyncio.get_running_loop().create_task(self._close_later(old))
        while True:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            client = self._connect()
            with contextlib.suppress(InferenceServerException):
                if await client.is_model_ready(self._model_name, client_timeout=self._deadline):
                    self._client, self.is_up = client, True
                    self._log_warning(f"{self._model_name} at {self.url} answers again")
                    return
            await client.close()


def _credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    def read(path: str) -> bytes | None:
        return Path(path).read_bytes() if path else None

    return grpc.ssl_channel_credentials(read(tls.root_certificates), read(tls.private_key), read(tls.certificate_chain))


def _sentence(error: InferenceServerException) -> str:
    return " ".join(error.message().split())[:200]
