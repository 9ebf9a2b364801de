"""Certificates of the ports: TLS and mutual TLS, read again when their files change.

A context of Python's takes a new certificate while it serves: connections that stand keep the old one. gRPC asks for
its certificate at each handshake.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from recserve.errors import ConfigError

_log: Final = logging.getLogger("recserve.serving")


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
        self.context.options |= ssl.OP_NO_RENEGOTIATION
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


class TlsSource(Protocol):
    """Where the certificates of a gRPC port come from."""

    @property
    def requires_client(self) -> bool:
        """Whether a client has to show a certificate."""

    def stamp(self) -> object:
        """Changes when what `read` gives may."""

    def read(self) -> Pems:
        """What is there now; raises `ConfigError`."""


@dataclass(frozen=True)
class SslConfigFile:
    """TensorFlow Serving's `ssl_config_file`: a text-format `SSLConfig`, which holds the PEMs themselves.

    Raises:
        ConfigError: it cannot be read, or is no such message, or has no key or certificate.
    """

    path: str

    def stamp(self) -> object:
        """Changes when the file does."""
        return _stamp(self.path)

    @property
    def requires_client(self) -> bool:
        """Whether a client has to show a certificate."""
        return bool(self._message().client_verify)

    def read(self) -> Pems:
        """The PEMs in the file."""
        message = self._message()
        authorities = message.custom_ca.encode() or None
        return Pems(message.server_cert.encode(), message.server_key.encode(), authorities)

    def _message(self) -> Any:
        from google.protobuf import text_format

        from recserve.wire.tensorflow_serving import SSLConfig

        try:
            message: Any = text_format.Parse(_read(self.path).decode(), SSLConfig())
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise ConfigError(f"no SSLConfig: {error}", code="invalid_certificate", where=self.path) from None
        if not message.server_key or not message.server_cert:
            raise ConfigError("server_key or server_cert is missing", code="invalid_certificate", where=self.path)
        if message.client_verify and not message.custom_ca:
            raise ConfigError("client_verify needs a custom_ca", code="invalid_certificate", where=self.path)
        return message


def grpc_credentials(source: TlsSource) -> Any:
    """Credentials of a gRPC port, which looks at its files at each handshake; wrong ones leave the last good in force.

    Raises:
        ConfigError: a file cannot be read, or is no certificate or key, or they do not fit.
    """
    import grpc

    def configuration() -> Any:
        pems = source.read()
        _check_pems(pems)
        return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.client_authorities)

    last = source.stamp()

    def fetch() -> Any:
        nonlocal last
        stamp = source.stamp()
        if stamp == last:
            return None  # as before
        last = stamp
        try:
            return configuration()
        except ConfigError as error:
            _log.error("The old certificate stays in force: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(configuration(), fetch, source.requires_client)


def _check_pems(pems: Pems) -> None:
    """Refuse PEMs that gRPC would refuse without a word; OpenSSL reads them from files only."""
    with tempfile.TemporaryDirectory(prefix="recserve-tls-") as folder:  # of this user alone
        names = ("certificate", "key", "client_authorities")
        paths = {name: str(Path(folder) / name) for name in names if getattr(pems, name) is not None}
        for name, path in paths.items():
            Path(path).write_bytes(getattr(pems, name))
        _load(
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            TlsFiles(paths["certificate"], paths["key"], paths.get("client_authorities", "")),
        )


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
