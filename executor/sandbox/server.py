"""The API server of one context: paths, the token, answers as JSON.

aiohttp in front of functions: ``listing``, ``watching``, ``podlogs`` and ``writing`` know what to answer. All but
health and version wants the token. ``sandbox`` gives it a port.
"""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from aiohttp import web

from raftsman.executor.sandbox import podlogs, protobuf, writing
from raftsman.executor.sandbox.answers import ApiError, Json, bad_request, method_not_allowed, unauthorized
from raftsman.executor.sandbox.cluster import Cluster
from raftsman.executor.sandbox.discovery import documents
from raftsman.executor.sandbox.kinds import KINDS, PODS, Kind
from raftsman.executor.sandbox.listing import list_document, list_page, wants_table
from raftsman.executor.sandbox.query import ListOptions, flag, list_options
from raftsman.executor.sandbox.tables import table
from raftsman.executor.sandbox.watching import Watch

logger = logging.getLogger(__name__)

BODY_BYTES = 3 * 1024 * 1024
"""kube-apiserver's own limit of a request's body."""

PROBES = ("/livez", "/readyz", "/healthz")
OPEN = (*PROBES, "/version")
JSON = "application/json"
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Answers for one cluster."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        self._cluster = cluster
        self._store = cluster.store
        self._authorization = f"Bearer {token}".encode()
        self._stopping = asyncio.Event()

    def application(self, address: str) -> web.Application:
        """Return the application; *address* is where it will be, for discovery."""
        application = web.Application(middlewares=[self._answer_errors, self._admit], client_max_size=BODY_BYTES)
        for path, document in documents(address).items():
            application.router.add_get(path, _constant(document))
        for path in PROBES:
            application.router.add_get(path, _ok)
        for kind in KINDS:
            self._add_kind(application.router, kind)
        application.router.add_get(f"{PODS.prefix}/namespaces/{{namespace}}/pods/{{name}}/log", self._log)
        return application

    def stop(self) -> None:
        """End all watches and followed logs, which would keep the server from stopping."""
        self._stopping.set()

    def _add_kind(self, router: web.UrlDispatcher, kind: Kind) -> None:
        everywhere = f"{kind.prefix}/{kind.plural}"
        collection = f"{kind.prefix}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else everywhere
        for path in {everywhere, collection}:
            router.add_route("*", path, self._for(kind, self._collection))
        router.add_route("*", f"{collection}/{{name}}", self._for(kind, self._object))

    def _for(self, kind: Kind, respond: Callable[[Kind, web.Request], Awaitable[web.StreamResponse]]) -> Respond:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await respond(kind, request)

        return handle

    # --- middlewares --------------------------------------------------------------------------------

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Respond) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            headers = {"Retry-After": "1"} if error.code in (429, 503, 504) else {}

            return _json(error.status(), code=error.code, headers=headers)
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {BODY_BYTES}"
            return _json(ApiError(413, "RequestEntityTooLarge", message).status(), code=413)
        except web.HTTPMethodNotAllowed:
            return _json(method_not_allowed().status(), code=405)
        except web.HTTPNotFound:
            return web.Response(status=404, text="404 page not found\n")
        except Exception:
            logger.exception("%s %s", request.method, request.path)
            return _json(ApiError(500, "InternalError", "Internal error occurred: see its log").status(), code=500)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Respond) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path not in OPEN and not hmac.compare_digest(given, self._authorization):
            raise unauthorized()
        if request.query.get("dryRun"):  # Whoever asks for one must not get the real thing.
            raise bad_request("dryRun is not supported by the development Kubernetes")
        return await handler(request)

    # --- collections and objects --------------------------------------------------------------------

    async def _collection(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info.get("namespace", "")
        if request.method == "POST" and (namespace or not kind.namespaced):
            body = _as_json(await request.read(), request.content_type, kind)
            answer = writing.create(self._store, kind, namespace, body, request.query)
            return self._answer(kind, answer, request)
        if request.method != "GET":
            raise method_not_allowed()
        options = list_options(request.query)
        if options.watch:
            return await self._watch(kind, namespace, options, request)
        metadata, objects = list_page(self._store, kind, namespace, options)
        if wants_table(request.headers.get("Accept", "")):
            return _json(self._table(kind, objects, metadata, options.include))
        return _json(list_document(kind, metadata, objects))

    async def _object(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info.get("namespace", ""), request.match_info["name"]
        match request.method:
            case "GET":
                answer = writing.Answer(body=self._store.get(kind, namespace, name))
            case "PATCH" if "patch" in kind.verbs:
                _check_patch_type(request)
                answer = writing.patch_job(self._store, namespace, name, await request.read(), request.query)
            case "DELETE" if "delete" in kind.verbs:
                asked = (await request.read(), request.query)
                answer = writing.delete(self._store, kind, namespace, name, asked)
            case _:
                raise method_not_allowed()
        return self._answer(kind, answer, request)

    def _answer(self, kind: Kind, answer: writing.Answer, request: web.Request) -> web.Response:
        body = answer.body
        if body["kind"] == kind.kind and wants_table(request.headers.get("Accept", "")):
            metadata = {"resourceVersion": body["metadata"]["resourceVersion"]}
            body = self._table(kind, [body], metadata, request.query.get("includeObject", "Metadata"))
        return _json(body, code=answer.code, warnings=answer.warnings)

    def _table(self, kind: Kind, objects: list[Json], metadata: Json, include: str) -> Json:
        return table(kind, objects, metadata, now=self._store.now(), include=include)

    # --- streams ------------------------------------------------------------------------------------

    async def _watch(
        self, kind: Kind, namespace: str, options: ListOptions, request: web.Request
    ) -> web.StreamResponse:
        watch = Watch(self._store, kind, namespace, options)
        as_table = wants_table(request.headers.get("Accept", ""))

        async def lines() -> AsyncIterator[bytes]:
            async for event in watch.events():
                shown = event["object"]
                if as_table and event["type"] not in ("ERROR", "BOOKMARK"):
                    shown = self._table(kind, [shown], {}, options.include)
                yield msgspec.json.encode({"type": event["type"], "object": shown}) + b"\n"

        return await self._stream(request, lines(), JSON)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        pod = self._store.get(PODS, request.match_info["namespace"], request.match_info["name"])
        container = podlogs.container_name(pod, request.query.get("container", ""))
        reading = podlogs.reading(pod, request.query, now=self._store.now())
        if flag(request.query, "previous"):
            raise podlogs.no_previous(pod, container)
        log = self._cluster.kubelet.log_of(pod, container)
        if log is None:
            raise podlogs.no_output(pod, container)
        return await self._stream(request, log.read(reading), "text/plain")

    async def _stream(
        self, request: web.Request, chunks: AsyncIterator[bytes], content_type: str
    ) -> web.StreamResponse:
        """Send what comes, at once, until it ends, the client leaves or the server stops."""
        response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache, private"})
        await response.prepare(request)
        sending = asyncio.create_task(_send(response, chunks))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, stopping):
                task.cancel()
            await asyncio.gather(sending, stopping, return_exceptions=True)
        return response


async def _send(response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        async for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)  # A write that needs not wait lets nobody else work, nor the connection's end come.


def _constant(document: Json) -> Respond:
    async def handle(_: web.Request) -> web.StreamResponse:
        return _json(document)

    return handle


async def _ok(_: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


def _as_json(body: bytes, content_type: str, kind: Kind) -> bytes:
    """Return a body in JSON, if it is in a form that is understood. Raises ApiError (415)."""
    if content_type in (JSON, "application/octet-stream"):  # aiohttp's word for none.
        return body
    if content_type == protobuf.CONTENT_TYPE:
        with contextlib.suppress(ValueError):
            return msgspec.json.encode(protobuf.decode(body, kind.kind))
    message = f"the body of the request was in an unknown format - accepted media types include: {JSON}"
    raise ApiError(415, "UnsupportedMediaType", message)


def _check_patch_type(request: web.Request) -> None:
    if request.content_type not in writing.PATCH_TYPES:
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def _json(
    body: Json, *, code: int = 200, warnings: tuple[str, ...] | list[str] = (), headers: dict[str, str] | None = None
) -> web.Response:
    response = web.Response(status=code, body=msgspec.json.encode(body) + b"\n", content_type=JSON, headers=headers)
    for warning in warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response
