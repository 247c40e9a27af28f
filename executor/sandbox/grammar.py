"""Names, labels and images: what Kubernetes allows, and its sentence for what it does not.

Pure functions that return the sentence, or None when all is well. Source: ``k8s.io/apimachinery``
``pkg/util/validation`` and ``github.com/distribution/reference``. ``validation`` makes causes of the sentences.
"""

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)*(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH}(?:/{_PATH})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)

NAME_CHARS = 253
LABEL_CHARS = 63
ANNOTATIONS_BYTES = 256 * 1024
DEFAULT_REGISTRY = "docker.io"


def subdomain(name: str) -> str | None:
    """Return what is wrong with a name of the usual kind."""
    if len(name) > NAME_CHARS:
        return f"must be no more than {NAME_CHARS} characters"
    if re.fullmatch(_SUBDOMAIN, name, re.ASCII):
        return None
    return (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
    )


def dns_label(name: str) -> str | None:
    """Return what is wrong with the name of a container or a namespace."""
    if len(name) > LABEL_CHARS:
        return f"must be no more than {LABEL_CHARS} characters"
    if re.fullmatch(_LABEL, name, re.ASCII):
        return None
    return (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
    )


def label_key(key: str) -> str | None:
    """Return what is wrong with the key of a label or an annotation."""
    prefix, slash, name = key.rpartition("/")
    if slash and (not prefix or subdomain(prefix)):
        return f"prefix part {subdomain(prefix) if prefix else 'must be non-empty'}"
    if not name:
        return "name part must be non-empty"
    if len(name) > LABEL_CHARS:
        return f"name part must be no more than {LABEL_CHARS} characters"
    if re.fullmatch(_QUALIFIED, name, re.ASCII):
        return None
    return (
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
        f"regex used for validation is '{_QUALIFIED}')"
    )


def label_value(value: str) -> str | None:
    """Return what is wrong with the value of a label."""
    if len(value) > LABEL_CHARS:
        return f"must be no more than {LABEL_CHARS} characters"
    if re.fullmatch(_VALUE, value, re.ASCII):
        return None
    return (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
        f"regex used for validation is '{_VALUE}')"
    )


def environment_name(name: str) -> str | None:
    """Return what is wrong with the name of an environment variable."""
    if name.isascii() and name.isprintable() and "=" not in name:
        return None
    return "a valid environment variable name must consist only of printable ASCII characters other than '='"


def registry_of(image: str) -> str | None:
    """Return the host of the registry that an image comes from, or None when this is no image reference."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        return None
    domain = found["domain"] or ""
    host = domain.partition(":")[0]
    is_host = "." in host or ":" in domain or host == "localhost" or host != host.lower()
    return host if is_host else DEFAULT_REGISTRY


def full_image(image: str) -> str:
    """Return the image with the registry and the tag that a short form leaves out."""
    host = registry_of(image)
    path = (
        image
        if host and image.startswith(host)
        else f"{DEFAULT_REGISTRY}/{image if '/' in image else f'library/{image}'}"
    )
    has_version = "@" in path or ":" in path.rpartition("/")[2]
    return path if has_version else f"{path}:latest"
