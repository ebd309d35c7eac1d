"""`cospec-server serve`: start Triton on the model repository, say when it is ready, and end it without a trace."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from cospec.administration import new_key, restrictions
from cospec.config import Settings, load_settings, with_models, with_verifier, write_settings
from cospec.draining import Gate
from cospec.engine.artefacts import all_compiled
from cospec.own_http import call, reachable
from cospec.preflight import (
    SHARED_MEMORY,
    check_files,
    check_ports,
    check_routing_prior,
    check_shared_memory,
    check_tracing,
    check_weights,
)
from cospec.processes import compiling, dying_with_us, kill_group, triton_environment
from cospec.repository import make_repository
from cospec.server_tls import ServerTls
from cospec.supervision import Supervisor
from cospec.triton_installation import ServeError, TritonInstallation, find_triton

EXIT_TIMEOUT = 4  # seconds that Triton may take to end its models
KILL_TIMEOUT = 8  # seconds after which it is killed
WARM_UP_TIMEOUT = 120.0  # seconds
RELOAD_TIMEOUT = 120.0
PING_INTERVAL_MS = 5_000  # that a client may ping in


@dataclass(frozen=True)
class ServeOptions:
    settings: Path
    model_repository: Path
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    host: str = "0.0.0.0"
    verbose: bool = False
    drain_seconds: float = 60.0  # that SIGTERM leaves to the requests that are being answered
    verifier_weights: Path | None = None  # instead of the settings' own
    models: tuple[str, ...] = ()  # to serve, instead of the settings' own
    tls: ServerTls | None = None  # of the gRPC port

    @property
    def ports(self) -> tuple[int, int, int]:
        return (self.http_port, self.grpc_port, self.metrics_port)


class TritonServer:
    """A running Triton. As a context manager: ready inside, gone after."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._runtime = Path(tempfile.mkdtemp(prefix="cospec-"))
        self._log = self._runtime / "triton.log"
        self._settings_file = self._runtime / "cospec.yaml"  # what the compiler and every model's process read
        self._repository = self._runtime / "models"
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: Supervisor | None = None
        self._gate: Gate | None = None
        self.admin_headers = new_key()

    def __enter__(self) -> "TritonServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        return f"{reachable(self._options.host)}:{self._options.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"{reachable(self._options.host)}:{self._options.grpc_port}"

    @property
    def metrics_url(self) -> str:
        return f"{reachable(self._options.host)}:{self._options.metrics_port}"

    def start(self, timeout: float = 180.0) -> None:
        """Check, start, and wait until every model is ready; raises `ServeError`, leaving nothing behind."""
        try:
            settings = with_verifier(load_settings(self._options.settings), self._options.verifier_weights)
            settings = with_models(settings, self._options.models)
            write_settings(settings, self._settings_file)
            self._gate = Gate.make(self._settings_file)
            self._preflight(settings)
            self._compile(settings)
            make_repository(settings, self._options.model_repository, self._repository)
            self._process = self._spawn(find_triton(self._runtime), settings)
            self._wait_until_ready(timeout)
            if "orchestrator" in settings.model_names:
                self._warm_up()
            self._supervisor = Supervisor(psutil.Process(self._process.pid), self._reload)
            self._supervisor.start()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> int:
        """Until the server ends; returns its exit code."""
        assert self._process is not None
        return self._process.wait()

    def drain(self) -> int:
        """Take in no more requests, and wait for those that are there; returns how many are left when time is up."""
        assert self._gate is not None
        return self._gate.drain(self._options.drain_seconds)

    def stop(self) -> None:
        """End the server, its models and their shared memory. Safe to call twice."""
        if self._supervisor is not None:
            self._supervisor.end()
        if self._process is not None:
            self._terminate(self._process)
            self._process = None
        if self._supervisor is not None and self._supervisor.is_alive():
            self._supervisor.join()  # what it waited for has ended with Triton
        for region in SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        shutil.rmtree(self._runtime, ignore_errors=True)

    @property
    def _shm_prefix(self) -> str:
        return self._runtime.name.replace("-", "_")

    def _preflight(self, settings: Settings) -> None:
        repository = self._options.model_repository
        check_ports(self._options.ports, self._options.host)
        check_weights(settings, repository)
        if "orchestrator" in settings.model_names:
            check_routing_prior(settings, repository)
            check_files(settings.tls_files())
            check_tracing(settings)
        if self._options.tls is not None:
            check_files(self._options.tls.files())
        check_shared_memory(len(settings.model_names))

    def _compile(self, settings: Settings) -> None:
        """If it fails, models run eagerly."""
        repository = self._options.model_repository.resolve()
        if all_compiled(settings, repository):
            return
        process = compiling(self._settings_file, repository, self._runtime)  # what it leaves there ends with us
        try:
            process.wait()
        finally:
            kill_group(process)

    def _spawn(self, installation: TritonInstallation, settings: Settings) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                dying_with_us([str(installation.binary), *self._arguments(installation, settings)]),
                env=triton_environment(self._settings_file, installation.library_paths),
                stdin=subprocess.DEVNULL,
                stdout=None if self._options.verbose else log,
                stderr=subprocess.STDOUT if not self._options.verbose else None,
                start_new_session=True,  # Ctrl-C is ours to handle: Triton must not lose its models before it ends
            )

    def _arguments(self, installation: TritonInstallation, settings: Settings) -> list[str]:
        options = self._options
        arguments = [
            f"--model-repository={self._repository}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in settings.model_names),
            "--disable-auto-complete-config",
            f"--http-address={options.host}",
            f"--grpc-address={options.host}",
            f"--metrics-address={options.host}",
            f"--http-port={options.http_port}",
            f"--grpc-port={options.grpc_port}",
            f"--metrics-port={options.metrics_port}",
            # A BLS call holds one of these threads while it waits; the default of 32 caps the calls in flight.
            f"--backend-config=python,thread-pool-size={settings.serving.bls_threads}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            *restrictions(self.admin_headers),
            f"--exit-timeout-secs={EXIT_TIMEOUT}",
            # An orchestrator elsewhere keeps its idle connections alive; by default Triton takes that for an attack.
            f"--grpc-http2-min-recv-ping-interval-without-data={PING_INTERVAL_MS}",
            *(options.tls.arguments() if options.tls is not None else ()),
            f"--allow-gpu-metrics={str(Path('/dev/nvidiactl').exists()).lower()}",
        ]
        if installation.backend_directory is not None:
            arguments.append(f"--backend-directory={installation.backend_directory}")
        return arguments

    def _wait_until_ready(self, timeout: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while not self._is_ready():
            if self._process.poll() is not None:
                raise ServeError(f"Triton ended while starting: {self._last_error()}")
            if time.monotonic() > deadline:
                raise ServeError(f"Triton was not ready after {timeout:.0f} s: {self._last_error()}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return call(f"http://{self.http_url}/v2/health/ready", 2.0) == 200
        return False

    def _warm_up(self) -> None:
        """A first request, which also lets the orchestrator measure what its calls cost where it does not know."""
        url, body = f"http://{self.http_url}/v2/models/orchestrator/generate", b'{"text_input": "a", "max_tokens": 4}'
        try:
            call(url, WARM_UP_TIMEOUT, body)
        except OSError as error:
            raise ServeError(f"the models do not answer: {error}; {self._last_error()}") from None

    def _reload(self, model: str) -> None:
        """A model whose process has died; requests that wait for it go on."""
        print(f"cospec-server: {model} has died; loading it again", file=sys.stderr)
        for action in ("unload", "load"):
            url = f"http://{self.http_url}/v2/repository/models/{model}/{action}"
            try:
                call(url, RELOAD_TIMEOUT, b"{}", self.admin_headers)
            except OSError as error:
                print(f"cospec-server: {model} cannot be {action}ed: {error}", file=sys.stderr)

    def _last_error(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.is_file() else []
        errors = [line for line in lines if line.startswith("E") or "Error" in line]
        return (errors or lines or ["no output"])[-1].strip()[:500]

    @staticmethod
    def _terminate(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_TIMEOUT)
        kill_group(process)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def serve(options: ServeOptions) -> int:
    """Run until Ctrl-C, SIGTERM, which drains first, a closed terminal, or the server's own end; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        with TritonServer(options) as server:
            print(
                f"CoSpec is ready: HTTP http://{server.http_url}  gRPC {server.grpc_url}  "
                f"metrics http://{server.metrics_url}/metrics",
                flush=True,
            )
            return _wait(server)
    except KeyboardInterrupt:
        return 0


def _wait(server: TritonServer) -> int:
    try:
        return server.wait()
    except Terminated:
        left = server.drain()
        if left:
            print(f"cospec-server: {left} requests have not ended in time and are cut", file=sys.stderr)
        return 0


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C would be too rude."""


def _interrupt(number: int, frame: object) -> None:
    """Once: a second signal must not end the ending, which takes seconds at most, and `drain_seconds` before."""
    for handled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(handled, signal.SIG_IGN)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
