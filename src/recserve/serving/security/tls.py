"""Certificates of the ports: TLS and mutual TLS, read again when their files change.

A context of Python's takes a new certificate while it serves: connections that stand keep the old one. gRPC asks for
its certificate at each handshake.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recserve.errors import ConfigError

POLL_S: Final = 10.0
"""Seconds between two looks at the files."""


@dataclass(frozen=True)
class TlsFiles:
    """The files of a port, PEM.

    Attributes:
        certificate: the server's, with the intermediate ones after it.
        key: of that certificate, without a password.
        client_authorities: whose certificates clients may show; empty for none.
        requires_client: whether a client has to show one.
    """

    certificate: str
    key: str
    client_authorities: str = ""
    requires_client: bool = False

    def __post_init__(self) -> None:
        if not self.certificate or not self.key:
            raise ConfigError("TLS needs a certificate and its key", hint="Give both --tls-cert and --tls-key.")
        if self.requires_client and not self.client_authorities:
            raise ConfigError(
                "client certificates are required, and nobody's are accepted", hint="Give --tls-client-ca."
            )

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Changes when a file does: (modified, size) of each; zeros for one that is not there."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_authorities) if path)

    def read(self) -> Pems:
        """The content of the files.

        Raises:
            ConfigError: one cannot be read.
        """
        return Pems(
            _read(self.certificate),
            _read(self.key),
            _read(self.client_authorities) if self.client_authorities else None,
        )


@dataclass(frozen=True)
class Pems:
    """Content of the files: certificate chain, key, and authorities of clients or None."""

    certificate: bytes
    key: bytes
    client_authorities: bytes | None


class HttpTls:
    """The context of the HTTP ports; `refresh` loads changed files into it.

    Raises:
        ConfigError: a file cannot be read, or is no certificate or key, or they do not fit.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = files.stamp()
        self._lock = threading.Lock()
        self.context: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        _load(self.context, files)
        if files.client_authorities:
            self.context.verify_mode = ssl.CERT_REQUIRED if files.requires_client else ssl.CERT_OPTIONAL

    def refresh(self) -> bool:
        """Load the files if they have changed, for the connections to come; True if they had.

        Raises:
            ConfigError: they are wrong. The old certificate stays, and they are tried again when they change again.
        """
        with self._lock:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            _load(
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._files
            )  # a context takes a chain before it checks the key
            _load(self.context, self._files)
            return True


def grpc_credentials(files: TlsFiles) -> Any:
    """Credentials of a gRPC port, which looks at the files at each handshake.

    Raises:
        ConfigError: a file cannot be read, or is no certificate or key, or they do not fit.
    """
    import grpc

    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    last = files.stamp()

    def configuration(pems: Pems) -> Any:
        return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.client_authorities)

    def fetch() -> Any:
        nonlocal last
        stamp = files.stamp()
        if stamp == last:
            return None  # as before
        last = stamp
        try:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
            return configuration(files.read())
        except ConfigError:
            return None

    return grpc.dynamic_ssl_server_credentials(configuration(files.read()), fetch, files.requires_client)


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    for path in (files.certificate, files.key, files.client_authorities):
        if path:
            _read(path)
    try:
        # With a password that is none: OpenSSL would ask the terminal for that of a locked key.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.client_authorities:
            context.load_verify_locations(files.client_authorities)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"the certificate cannot be used: {error}",
            code="invalid_certificate",
            where=f"{files.certificate}, {files.key}",
            hint="Give PEM files: the server's chain, and its key without a password.",
        ) from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", code="invalid_certificate", where=path) from None


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
