"""What the server's gRPC port shows to clients, and asks of them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerTls:
    """PEM files; with `authorities`, clients too must show a certificate that one of them has signed."""

    certificate: Path
    key: Path
    authorities: Path | None = None

    def files(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.authorities) if path is not None]

    def arguments(self) -> list[str]:
        """Of Triton."""
        chosen = ["--grpc-use-ssl=true", f"--grpc-server-cert={self.certificate}", f"--grpc-server-key={self.key}"]
        if self.authorities is None:
            return chosen
        return [*chosen, "--grpc-use-ssl-mutual=true", f"--grpc-root-cert={self.authorities}"]
