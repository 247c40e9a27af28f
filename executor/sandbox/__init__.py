"""The development Kubernetes: the HTTP API of Kubernetes on loopback, whose Pods are local processes.

**It executes the commands of Pods as the user who started it**, without containers: no isolation, no images. It
therefore listens on 127.0.0.1 only, over TLS, asks every call for a random token, and writes that token into a file
that only its user can read. It is for trying raftsman and for tests, never for work that matters.

The rest of the program must not import this package: the executor does not know which Kubernetes it talks to.
What it does and where it differs from the real one: ``docs/development-kubernetes.md``; ``tests/conformance`` asks both
the same questions.

``main`` is the process, ``cluster`` one context; ``server`` answers HTTP from the ``store``; ``jobcontroller``,
``deletion`` and ``kubelet`` react to its changes. Whatever is decided is decided in functions of plain values:
``fields``, ``defaults``, ``validation``, ``selection``, ``jobstatus``, ``podstatus``.
"""
