"""The spellings that a submission may use: ids, Kubernetes names and labels, image references, variables.

Each function answers one text with a complaint (a sentence's end: "must be …") or None. The API server checks
some of them again, and others not at all: it accepts the image "HTTP://x y". Lengths are checked before patterns.
"""

import re
import unicodedata
from collections.abc import Callable

from raftsman.wire.faults import Complaint, clipped

Rule = Callable[[str], Complaint | None]

LABEL_DOMAIN = "raftsman.dev"
"""Where our own labels and annotations lie; a placeholder domain."""

RESERVED_PREFIXES = (LABEL_DOMAIN, "batch.kubernetes.io", "kueue.x-k8s.io")
RESERVED_LABELS = ("job-name", "controller-uid", "app.kubernetes.io/managed-by")
"""What the Job controller, Kueue or raftsman set: a user's would hide a Job of ours, or claim one."""

TASK_ID_CHARS = 128
NODE_CHARS = 128
CONTEXT_CHARS = 253
IMAGE_CHARS = 1024
LABEL_CHARS = 63
SUBDOMAIN_CHARS = 253
REPOSITORY_CHARS = 255  # github.com/distribution/reference: RepositoryNameTotalLengthMax.

TASK_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"

_TASK_ID = re.compile(TASK_ID)
_DNS_LABEL = re.compile(DNS_LABEL)
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

# https://github.com/distribution/reference/blob/main/regexp.go
_HOST_PART = r"[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_HEX_ID = re.compile(r"[0-9a-f]{64}")


def task_id(text: str) -> Complaint | None:
    """Check the id of a task."""
    if len(text) <= TASK_ID_CHARS and _TASK_ID.fullmatch(text):
        return None
    return Complaint(
        f"must be 1 to {TASK_ID_CHARS} characters A-Z a-z 0-9 . _ - that begin with a letter or digit;"
        " leave it out to get one"
    )


def context_name(text: str) -> Complaint | None:
    """Check the name of a context; whether it is known is for admission."""
    if not text.strip():
        return Complaint("must name a Kubernetes context; the context is empty")
    if len(text) > CONTEXT_CHARS or not _is_printable(text):
        return Complaint(f"must name a context in at most {CONTEXT_CHARS} characters, none of them a control character")
    return None


def node_name(text: str) -> Complaint | None:
    """Check the name of a node; whether it exists is for the planner."""
    if text and len(text) <= NODE_CHARS and _is_printable(text):
        return None
    return Complaint(f"must name a node in 1 to {NODE_CHARS} characters, none of them a control character")


def dns_label(text: str) -> Complaint | None:
    """Check a DNS-1123 label, the grammar of namespaces (RFC 1123, section 2.1)."""
    if len(text) <= LABEL_CHARS and _DNS_LABEL.fullmatch(text):
        return None
    return Complaint(f"must be 1 to {LABEL_CHARS} characters a-z 0-9 - that begin and end with a letter or digit")


def dns_subdomain(text: str) -> Complaint | None:
    """Check a DNS-1123 subdomain, the grammar of most names in Kubernetes."""
    if len(text) <= SUBDOMAIN_CHARS and all(_DNS_LABEL.fullmatch(part) for part in text.split(".")):
        return None
    return Complaint(
        f"must be at most {SUBDOMAIN_CHARS} characters: parts of a-z 0-9 - that begin and end with a letter or digit,"
        " with dots between them"
    )


def label_key(text: str) -> Complaint | None:
    """Check the key of a label or annotation: a name, or a DNS subdomain, a slash and a name."""
    prefix, slash, name = text.rpartition("/")
    if slash and dns_subdomain(prefix):
        return Complaint("must have a DNS name such as example.com before the slash")
    if len(name) <= LABEL_CHARS and _LABEL_NAME.fullmatch(name):
        return None
    return Complaint(
        f"must be a name of 1 to {LABEL_CHARS} characters A-Z a-z 0-9 - _ . that begins and ends with a letter or digit"
    )


def label_value(text: str) -> Complaint | None:
    """Check the value of a label; it may be empty."""
    if not text or (len(text) <= LABEL_CHARS and _LABEL_NAME.fullmatch(text)):
        return None
    return Complaint(
        f"must be empty or at most {LABEL_CHARS} characters A-Z a-z 0-9 - _ . that begin and end with a letter or digit"
    )


def unreserved(key: str) -> Complaint | None:
    """Check that the key of a Job's label or annotation is a user's to choose."""
    if key.rpartition("/")[0] in RESERVED_PREFIXES:
        return Complaint(f"must not lie under {key.rpartition('/')[0]}/, which is reserved; choose another prefix")
    if key in RESERVED_LABELS:
        return Complaint(f"must not be {key}, which is reserved; choose another name")
    return None


def variable_name(text: str) -> Complaint | None:
    """Check the name of an environment variable as Kubernetes does (``IsEnvVarName``)."""
    if _VARIABLE.fullmatch(text) and text != "." and not text.startswith(".."):
        return None
    return Complaint("must be a variable's name: letters, digits, - _ . and no digit first")


def not_blank(text: str) -> Complaint | None:
    """A text with something in it."""
    return None if text.strip() else Complaint("must not be empty")


def absolute_path(text: str) -> Complaint | None:
    """A path that does not depend on where a node was started."""
    return None if text.startswith("/") else Complaint(f"must be an absolute path, not {clipped(text)}")


def no_nul(text: str) -> Complaint | None:
    """Check that the text can be an argument or a variable of a process."""
    return Complaint("must not hold a NUL character, which no process can be given") if "\0" in text else None


def image(text: str) -> Complaint | None:
    """Check an OCI image reference: [registry[:port]/]path[:tag][@digest]."""
    if not text or len(text) > IMAGE_CHARS:
        return Complaint(f"must name an image in 1 to {IMAGE_CHARS} characters, such as ghcr.io/acme/train:7")
    if "://" in text:
        return Complaint("must not have a scheme; write registry/path:tag")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        return Complaint("must have a digest of the form sha256: and 64 hexadecimal digits after the @")
    repository, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        return Complaint(f"must have a tag of 1 to 128 characters A-Z a-z 0-9 _ . -, not {clipped(tag)}")
    return _repository(repository)


def _split_tag(reference: str) -> tuple[str, str | None]:
    last = reference.rpartition("/")[2]
    if ":" not in last:
        return reference, None
    tag = last.partition(":")[2]
    return reference[: -len(tag) - 1], tag


def _repository(text: str) -> Complaint | None:
    first, slash, path = text.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first):
        first, path = "", text  # Without a dot or a port it is no registry: a folder of the default one.
    if first and not _REGISTRY.fullmatch(first):
        return Complaint(f"must name a registry as host or host:port, not {clipped(first)}")
    if path != path.lower():
        return Complaint(f"must have a repository in lower case: {clipped(path.lower())}")
    if len(text) > REPOSITORY_CHARS or _HEX_ID.fullmatch(path):
        return Complaint(f"must have a repository of at most {REPOSITORY_CHARS} characters that is not an image id")
    if all(_PATH_PART.fullmatch(part) for part in path.split("/")):
        return None
    return Complaint("must be an image reference such as ghcr.io/acme/train:7, without spaces")


def _is_printable(text: str) -> bool:
    return not any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in text)
