"""What an answer, or its absence, means in the port's words.

Pure functions of the status, headers and body of an HTTP answer, and of the exceptions of aiohttp. Most error
bodies are ``Status`` objects, but not all: API Priority and Fairness answers 429 in plain text, and a proxy in
between answers what it likes. Who acts on the errors: ``transport`` and its callers.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from raftsman.executor.jobs import (
    AlreadyExists,
    Conflict,
    Denied,
    Expired,
    Json,
    KubernetesError,
    NotFound,
    Unauthorized,
    Unreachable,
)
from raftsman.raft.limits import clip

FOREIGN_BYTES = 200
"""Of a body that is no Status: enough to recognise the proxy that wrote it."""

RETRY_AFTER_429_S = 1.0
"""What a 429 without Retry-After gets; API Priority and Fairness itself says 1."""

ANONYMOUS = "system:anonymous"  # Who the API server takes a call without credentials for; it answers 403, not 401.

_JSON: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def decode(raw: bytes) -> Json | None:
    """Return the JSON object in *raw*, or None when it holds anything else; invalid UTF-8 is replaced."""
    value: Any = None
    try:
        value = _JSON.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with contextlib.suppress(ValueError, RecursionError):  # The stricter, faster decoder refuses a little more.
            value = json.loads(raw.decode("utf-8", "replace"))
    except RecursionError:
        return None
    return value if isinstance(value, dict) else None


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> KubernetesError:
    """Return the error that an answer outside 200 to 299 stands for."""
    found = decode(body)
    if found is None or found.get("kind") != "Status":
        return _error_of_foreign_body(status, headers, body)
    return error_of_status(found, status, headers)


def error_of_status(found: Json, status: int = 0, headers: Mapping[str, str] | None = None) -> KubernetesError:
    """Return the error of a Status object; one without a ``reason`` is as good, and real."""
    code = status or _integer(found.get("code"))
    message = clip(_text(found.get("message")) or f"HTTP {code} without a message")
    reason = _text(found.get("reason"))
    if code == 401 or (code == 403 and ANONYMOUS in message):
        return Unauthorized(message, status=code, reason=reason)
    if _is_passing(code, found):
        wait_s = _retry_after_s(code, headers or {}, found)
        return Unreachable(message, status=code, reason=reason, retry_after_s=wait_s)
    return _denial(code, reason)(message, status=code, reason=reason)


def error_of_failure(failure: BaseException, server: str, limit: str) -> Unreachable:
    """Return the error of a call to *server* that got no answer; *limit* says how long it was waited for."""
    match failure:
        case aiohttp.ClientSSLError():
            return Unreachable(f"no trusted connection to {server}: {_cause(failure)}", reason="TLS")
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"the name in {server} cannot be resolved: {_cause(failure)}", reason="NameResolution")
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return Unreachable(f"{server} refused the connection", reason="ConnectionRefused")
        case aiohttp.ClientConnectorError():
            return Unreachable(f"no connection to {server}: {_cause(failure)}", reason="Connection")
        case TimeoutError():
            return Unreachable(f"{server} did not answer within {limit}", reason="Timeout")
        case aiohttp.InvalidURL():
            return Unreachable(f"{server} is not a URL", reason="InvalidURL")
        case aiohttp.ClientError() | OSError():
            return Unreachable(f"{server} cut the connection ({type(failure).__name__})", reason="Cut")
        case _:
            # ValueError: a header that cannot be sent. Its text may quote the token.
            return Unreachable(f"the call to {server} cannot be sent ({type(failure).__name__})", reason="Unsendable")


def not_json(server: str, body: bytes) -> Unreachable:
    """Return the error of a 2xx answer that holds no JSON object: something else than Kubernetes answers there."""
    return Unreachable(f"{server} answered something that is not Kubernetes: {_quote(body)}", reason="NotKubernetes")


def _error_of_foreign_body(status: int, headers: Mapping[str, str], body: bytes) -> KubernetesError:
    message = f"HTTP {status}: {_quote(body)}"
    if status == 401:
        return Unauthorized(message, status=status)
    if status == 410:
        return Expired(message, status=status)
    if status == 413:
        return Denied(message, status=status)
    return Unreachable(message, status=status, retry_after_s=_retry_after_s(status, headers, {}))


def _is_passing(code: int, found: Json) -> bool:
    """Whether the same call may well succeed a little later."""
    if code in (408, 429) or code >= 500 or code < 400:
        return True
    # Two creates that raced for one quota: "Operation cannot be fulfilled on resourcequotas".
    details = found.get("details")
    return code == 409 and isinstance(details, dict) and details.get("kind") == "resourcequotas"


def _denial(code: int, reason: str) -> type[Denied]:
    match code:
        case 404:
            return NotFound
        case 409:
            return AlreadyExists if reason == "AlreadyExists" else Conflict
        case 410:
            return Expired
        case _:
            return Denied


def _retry_after_s(code: int, headers: Mapping[str, str], found: Json) -> float | None:
    details = found.get("details")
    asked = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    header = headers.get("Retry-After", "").strip()
    if header.isdecimal():  # The form with a date is used by no API server.
        return float(header[:6])
    if isinstance(asked, int) and asked > 0:
        return float(asked)
    return RETRY_AFTER_429_S if code == 429 else None


def _cause(failure: Any) -> str:
    os_error = getattr(failure, "os_error", None) or getattr(failure, "certificate_error", None) or failure
    return clip(getattr(os_error, "strerror", None) or str(os_error), FOREIGN_BYTES)


def _quote(body: bytes) -> str:
    text = " ".join(body[: 4 * FOREIGN_BYTES].decode("utf-8", "replace").split())
    return clip(text, FOREIGN_BYTES) if text else "an empty body"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
