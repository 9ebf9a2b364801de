"""Options of `recserve serve` for those who run it: tokens, certificates, metrics, logs and traces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recserve.serving.oversight import Operations

AccessFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Tokens, and which protocols, calls and models they open.")
]
TlsCert = Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate chain of all ports, PEM.")]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM, without a password.")]
TlsClientCa = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Whose certificates clients may show, PEM; then they have to.")
]
ClientCertOptional = Annotated[
    bool, typer.Option("--tls-client-optional", help="Let clients show no certificate, too.")
]
GrpcSslConfig = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="TensorFlow Serving's ssl_config_file, for the gRPC ports."),
]
MonitoringConfig = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TensorFlow Serving's monitoring_config_file: the metrics' path.")
]
MetricsDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where workers share their metrics; a directory of its own by default."),
]
TritonMetrics = Annotated[bool, typer.Option("--triton-metrics", help="Tell metrics under Triton's names too.")]
JsonLogs = Annotated[bool, typer.Option("--json-logs", help="Log JSON objects, one a line, in place of text.")]
AccessLogRate = Annotated[float, typer.Option(min=0, max=1, help="Share of the requests that are logged.")]
SlowLog = Annotated[float | None, typer.Option(metavar="MS", help="Log requests that take as long, with their stages.")]
RecordRate = Annotated[float, typer.Option(min=0, max=1, help="Share of the served records that --log-records keeps.")]
Traces = Annotated[
    bool, typer.Option("--traces", help="Trace requests with OpenTelemetry (extra `otel`; OTEL_* say where to).")
]
Users = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep users here, for requests that name one.")]


@dataclass(frozen=True)
class OperationFlags:
    """The options; each field is one of its name."""

    access_file: AccessFile = None
    tls_cert: TlsCert = None
    tls_key: TlsKey = None
    tls_client_ca: TlsClientCa = None
    tls_client_optional: ClientCertOptional = False
    grpc_ssl_config_file: GrpcSslConfig = None
    monitoring_config_file: MonitoringConfig = None
    triton_metrics: TritonMetrics = False
    metrics_dir: MetricsDir = None
    json_logs: JsonLogs = False
    access_log_rate: AccessLogRate = 0.0
    slow_log: SlowLog = None
    record_rate: RecordRate = 1.0
    traces: Traces = False
    users: Users = None


def read_operations(flags: OperationFlags) -> Operations:
    """The operations that the options ask for.

    Args:
        flags: as given.

    Raises:
        ConfigError: a combination that cannot be, or a file that cannot be read.
    """
    from recserve.serving.access_log import AccessLogOptions
    from recserve.serving.oversight import Operations
    from recserve.serving.security.tls import SslConfigFile, TlsFiles
    from recserve.serving.tfs.monitoring import read_metrics_path

    tls = None
    if flags.tls_cert or flags.tls_key or flags.tls_client_ca:
        authorities = _text(flags.tls_client_ca)
        requires = bool(authorities) and not flags.tls_client_optional
        tls = TlsFiles(_text(flags.tls_cert), _text(flags.tls_key), authorities, requires)
    monitoring = flags.monitoring_config_file
    return Operations(
        access_file=_text(flags.access_file) or None,
        tls=tls,
        grpc_tls=SslConfigFile(str(flags.grpc_ssl_config_file)) if flags.grpc_ssl_config_file else None,
        access_log=AccessLogOptions(flags.access_log_rate, flags.slow_log),
        log_format="json" if flags.json_logs else "text",
        traces=flags.traces,
        metrics_directory=_text(flags.metrics_dir) or None,
        triton_metrics=flags.triton_metrics,
        users_directory=_text(flags.users) or None,
        metrics_path=read_metrics_path(monitoring) if monitoring else "",
    )


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)
