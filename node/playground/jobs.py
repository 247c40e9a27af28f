"""The Jobs of a development Kubernetes as it lists them itself, past raftsman: for whoever wants to compare."""

import asyncio
import base64
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

ANSWER_S = 5.0


async def job_uids(kubeconfig: Path, context: str, namespace: str = "default") -> dict[str, str]:
    """Return the UIDs of all Jobs of a namespace by name. Raises OSError."""
    return await asyncio.to_thread(_job_uids, kubeconfig, context, namespace)


def _job_uids(kubeconfig: Path, context: str, namespace: str) -> dict[str, str]:
    config: Any = json.loads(kubeconfig.read_text(encoding="utf-8"))
    cluster = next(each["cluster"] for each in config["clusters"] if each["name"] == context)
    user = next(each["user"] for each in config["users"] if each["name"] == context)
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    request = urllib.request.Request(  # noqa: S310 — the development Kubernetes' own URL.
        f"{cluster['server']}/apis/batch/v1/namespaces/{namespace}/jobs",
        headers={"Authorization": f"Bearer {user['token']}"},
    )
    tls = ssl.create_default_context(cadata=authority)
    with urllib.request.urlopen(request, timeout=ANSWER_S, context=tls) as answer:  # noqa: S310 — as above.
        items = json.loads(answer.read())["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}
