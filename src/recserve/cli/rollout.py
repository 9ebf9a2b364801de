"""`recserve rollout`: which versions of a model share its calls."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import typer

from recserve.errors import ConfigError

Server = Annotated[str, typer.Option(metavar="URL", help="Address of the server's `admin` dialect.")]
Stable = Annotated[int | None, typer.Option(metavar="VERSION", help="Version that takes what the others leave.")]
Canary = Annotated[int | None, typer.Option(metavar="VERSION", help="Version that gets a share of the users.")]
Percent = Annotated[float, typer.Option(min=0, max=100, help="The canary's share; two decimals count.")]
Arms = Annotated[
    list[str] | None, typer.Option("--arm", metavar="VERSION=PERCENT", help="One more version of an A/B test.")
]
Shadows = Annotated[
    list[int] | None, typer.Option("--shadow", metavar="VERSION", help="Version that is asked too, and only compared.")
]
ShadowPercent = Annotated[float, typer.Option(min=0, max=100, help="Share of the calls that shadows are asked.")]
RuleText = Annotated[
    str | None,
    typer.Option("--rule", metavar="JSON", help='Judge the canary, as in {"max_error_rate": 0.01, "promotes": true}.'),
]
Action = Annotated[bool, typer.Option(help="Do that now.")]


def rollout(
    model: Annotated[str | None, typer.Argument(help="Name of the model; none lists all rollouts.")] = None,
    *,
    server: Server = "http://127.0.0.1:8502",
    stable: Stable = None,
    canary: Canary = None,
    percent: Percent = 0.0,
    arm: Arms = None,
    shadow: Shadows = None,
    shadow_percent: ShadowPercent = 100.0,
    rule: RuleText = None,
    promote: Action = False,
    roll_back: Action = False,
    clear: Action = False,
) -> None:
    """Split a model's users over versions, or move all of them; prints the rollout and what was seen as JSON.

    \b
    Example:
      recserve serve models --watch --dialect recserve:8501 --dialect admin:8502
      recserve rollout rank --stable 6 --canary 7 --percent 5
      recserve rollout rank --promote
    """  # noqa: D301 - \b keeps the lines of the example
    if sum((promote, roll_back, clear, stable is not None)) > 1:
        raise ConfigError("asks for two things at once", where="recserve rollout", hint="Give one of them.")
    if model is None:
        _show(_call(server, "GET", "/rollouts"))
        return
    path = f"/rollouts/{quote(model, safe='')}"
    if promote or roll_back:
        _show(_call(server, "POST", f"{path}/{'promote' if promote else 'roll_back'}"))
    elif clear:
        _show(_call(server, "DELETE", path))
    elif stable is None:
        if canary is not None or arm or shadow:
            raise ConfigError("no stable version is given", where="recserve rollout", hint="Add --stable VERSION.")
        _show(_call(server, "GET", path))
    else:
        wanted = {
            "stable": stable,
            "canary": canary,
            "canary_bp": round(percent * 100),
            "arms": dict(_arm(text) for text in arm or []),
            "shadows": shadow or [],
            "shadow_bp": round(shadow_percent * 100),
            "rule": None if rule is None else _rule(rule),
        }
        _show(_call(server, "PUT", path, wanted))


def _arm(text: str) -> tuple[str, int]:
    version, _, share = text.partition("=")
    try:
        return str(int(version)), round(float(share) * 100)
    except ValueError:
        raise ConfigError("is no arm", where=f"--arm {text}", hint="Write VERSION=PERCENT, such as 7=50.") from None


def _rule(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"is no JSON: {error}", where="--rule") from None


def _call(server: str, method: str, path: str, body: object = None) -> Any:
    if urlsplit(server).scheme not in ("http", "https"):
        raise ConfigError(f"{server!r} is no address", where="--server", hint="Write http://HOST:PORT.")
    data = None if body is None else json.dumps(body).encode()
    request = Request(server.rstrip("/") + path, data, method=method)  # noqa: S310 - the scheme is checked
    try:
        with urlopen(request, timeout=120) as answer:  # noqa: S310
            return json.loads(answer.read())
    except HTTPError as error:
        raise ConfigError(_problem(error.read()) or str(error), where=server) from None
    except (URLError, OSError) as error:
        hint = "Start the server with --dialect admin, and give its address with --server."
        raise ConfigError(f"cannot be reached: {error}", where=server, hint=hint) from None


def _problem(body: bytes) -> str:
    """What the server says is wrong; empty where it says nothing."""
    try:
        error = json.loads(body)["error"]
        parts = (error.get("where"), error["message"], error.get("hint"))
        return ": ".join(part for part in parts[:2] if part) + (f". {parts[2]}" if parts[2] else "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _show(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))
