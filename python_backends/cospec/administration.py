"""Triton's interfaces that could put other code or other settings into a running server: for `cospec-server` alone."""

import secrets
from collections.abc import Mapping

INTERFACES = "model-repository,shared-memory,trace,logging"
HEADER = "cospec-admin"


def new_key() -> dict[str, str]:
    """As the header of an HTTP request."""
    return {HEADER: secrets.token_urlsafe(24)}


def restrictions(key: Mapping[str, str]) -> tuple[str, ...]:
    """Arguments of Triton: who does not show the key is refused."""
    restricted = f"{INTERFACES}:{HEADER}={key[HEADER]}"
    return f"--http-restricted-api={restricted}", f"--grpc-restricted-protocol={restricted}"
