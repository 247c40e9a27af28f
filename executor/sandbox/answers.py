"""What the API says when it says no: ``Status`` objects in the words of Kubernetes.

The sentences are those of kube-apiserver 1.34, measured, for clients match on them. Who says no: ``fields``,
``validation``, ``store`` and the handlers; ``server`` turns the exception into an answer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raftsman.executor.sandbox.kinds import Kind

Json = dict[str, Any]

ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


class ApiError(Exception):
    """An answer outside 2xx."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Json:
        """Return the Status object; one without a reason has none, as in Kubernetes."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What is wrong with one field."""

    reason: str
    message: str
    field: str


def invalid_value(field: str, value: object, text: str) -> Cause:
    """Return the cause of a value that breaks the rule in *text*."""
    return Cause(reason="FieldValueInvalid", message=f"Invalid value: {_go(value)}: {text}", field=field)


def required(field: str, text: str = "") -> Cause:
    """Return the cause of a value that is missing."""
    return Cause(
        reason="FieldValueRequired", message=f"Required value: {text}" if text else "Required value", field=field
    )


def unsupported(field: str, value: str, allowed: Sequence[str]) -> Cause:
    """Return the cause of a value outside a closed list."""
    words = ", ".join(_go(each) for each in allowed)
    message = f"Unsupported value: {_go(value)}: supported values: {words}"
    return Cause(reason="FieldValueNotSupported", message=message, field=field)


def duplicate(field: str, value: str) -> Cause:
    """Return the cause of a value that another one has already."""
    return Cause(reason="FieldValueDuplicate", message=f"Duplicate value: {_go(value)}", field=field)


def not_found_value(field: str, value: str) -> Cause:
    """Return the cause of a reference to something that the object does not have."""
    return Cause(reason="FieldValueNotFound", message=f"Not found: {_go(value)}", field=field)


def forbidden_value(field: str, text: str) -> Cause:
    """Return the cause of a value that may not be given here."""
    return Cause(reason="FieldValueForbidden", message=f"Forbidden: {text}", field=field)


def too_long(field: str, limit_bytes: int) -> Cause:
    """Return the cause of a value above a limit."""
    return Cause(reason="FieldValueTooLong", message=f"Too long: may not be more than {limit_bytes} bytes", field=field)


def invalid(kind: str, name: str, causes: Sequence[Cause], *, group: str = "") -> ApiError:
    """Return the 422 that names all *causes*; *kind* is a kind's own name."""
    qualified = f"{kind}.{group}" if group else kind
    sentences = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    details = _details(name, group, kind)
    details["causes"] = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def invalid_object(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """Return the 422 about an object."""
    return invalid(kind.kind, name, causes, group=kind.group)


def invalid_options(kind: str, causes: Sequence[Cause]) -> ApiError:
    """Return the 422 about query parameters or a DeleteOptions body."""
    return invalid(kind, "", causes, group="meta.k8s.io")


def bad_request(message: str) -> ApiError:
    """Return the 400 with this sentence."""
    return ApiError(400, "BadRequest", message)


def not_found(kind: Kind, name: str) -> ApiError:
    """Return the 404 about an object."""
    return ApiError(404, "NotFound", f'{kind.qualified} "{name}" not found', _details(name, kind.group, kind.plural))


def already_exists(kind: Kind, name: str, *, being_deleted: bool) -> ApiError:
    """Return the 409 of a create; the name may belong to an object that is about to go."""
    before = "object is being deleted: " if being_deleted else ""
    message = f'{before}{kind.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(name, kind.group, kind.plural))


def modified(kind: Kind, name: str) -> ApiError:
    """Return the 409 of a change that names an older resource version."""
    message = (
        f'Operation cannot be fulfilled on {kind.qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, _details(name, kind.group, kind.plural))


def precondition_failed(kind: Kind, name: str, word: str, asked: str, found: str) -> ApiError:
    """Return the 409 of a deletion whose precondition (*word*: UID, ResourceVersion) does not hold."""
    message = (
        f'Operation cannot be fulfilled on {kind.qualified_kind} "{name}": the {word} in the precondition ({asked}) '
        f"does not match the {word} in record ({found}). The object might have been deleted and then recreated"
    )
    return ApiError(409, "Conflict", message, _details(name, kind.group, kind.kind))


def namespace_terminating(kind: Kind, name: str, namespace: str) -> ApiError:
    """Return the 403 of a create in a namespace that is being deleted."""
    message = (
        f'{kind.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace} '
        "because it is being terminated"
    )
    details = _details(name, kind.group, kind.plural)
    details["causes"] = [
        {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
    ]
    return ApiError(403, "Forbidden", message, details)


def unauthorized() -> ApiError:
    """Return the 401."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """Return the 405."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def expired(message: str) -> ApiError:
    """Return the 410 of a resource version that is no longer remembered."""
    return ApiError(410, "Expired", message)


def _details(name: str, group: str, kind: str) -> Json:
    details = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def _go(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
