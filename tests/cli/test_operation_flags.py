"""The options of those who run the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from recserve.cli.operation_flags import OperationFlags, read_operations
from recserve.errors import ConfigError
from recserve.serving.access_log import AccessLogOptions
from recserve.serving.oversight import Operations
from recserve.serving.security.tls import SslConfigFile, TlsFiles


def test_without_options_nothing_is_watched_but_counted_and_the_log_is_text() -> None:
    assert read_operations(OperationFlags()) == Operations(log_format="text")


def test_options_become_operations(tmp_path: Path) -> None:
    monitoring = tmp_path / "m.txt"
    monitoring.write_text('prometheus_config { enable: true path: "/m" }')
    flags = OperationFlags(
        access_file=Path("a"),
        tls_cert=Path("c"),
        tls_key=Path("k"),
        tls_client_ca=Path("ca"),
        grpc_ssl_config_file=Path("s"),
        monitoring_config_file=monitoring,
        access_log_rate=0.5,
        slow_log=20,
        json_logs=True,
        users=Path("u"),
        metrics_dir=Path("d"),
    )
    assert read_operations(flags) == Operations(
        access_file="a",
        tls=TlsFiles("c", "k", "ca", requires_client=True),
        grpc_tls=SslConfigFile("s"),
        access_log=AccessLogOptions(0.5, 20),
        log_format="json",
        metrics_directory="d",
        users_directory="u",
        metrics_path="/m",
    )


def test_client_certificates_may_be_optional() -> None:
    flags = OperationFlags(tls_cert=Path("c"), tls_key=Path("k"), tls_client_ca=Path("ca"), tls_client_optional=True)
    assert read_operations(flags).tls == TlsFiles("c", "k", "ca")


def test_half_a_certificate_is_told() -> None:
    with pytest.raises(ConfigError, match="TLS needs a certificate and its key"):
        read_operations(OperationFlags(tls_cert=Path("c")))
