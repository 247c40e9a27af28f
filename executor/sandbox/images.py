"""What becomes of pulling an image: here every image is present, unless its name says otherwise.

A name that is no image reference is ``InvalidImageName``. A registry below ``.invalid``, a domain that exists nowhere
(RFC 2606), cannot be reached, so that a failed pull can be tried out. Pure; the sentences are those of containerd and
the kubelet.
"""

from dataclasses import dataclass

from raftsman.executor.sandbox.grammar import full_image, registry_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFault:
    """Why a container does not get its image."""

    reason: str
    message: str
    may_pass: bool = False  # Whether the kubelet tries again and again.


def pull_fault(image: str, policy: str) -> PullFault | None:
    """Return why the image cannot be had under this pull policy, or None when it is there."""
    host = registry_of(image)
    if host is None:
        parse = f'couldn\'t parse image name "{image}": invalid reference format'
        return PullFault(reason="InvalidImageName", message=f'Failed to apply default image tag "{image}": {parse}')
    if host != "invalid" and not host.endswith(".invalid"):
        return None
    if policy == "Never":
        message = f'Container image "{image}" is not present with pull policy of Never'
        return PullFault(reason="ErrImageNeverPull", message=message)
    return PullFault(reason="ErrImagePull", message=_no_such_host(image, host), may_pass=True)


def _no_such_host(image: str, host: str) -> str:
    reference = full_image(image)
    path = reference.partition("/")[2]
    repository, _, version = path.rpartition("@" if "@" in path else ":")
    url = f"https://{reference.partition('/')[0]}/v2/{repository}/manifests/{version}"
    return (
        f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": '
        f'failed to do request: Head "{url}": dial tcp: lookup {host}: no such host'
    )
