"""The gateway's HTTP interface (specification: HTTP, gateway). Parsing only; no rule is here."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from ledger import codec
from ledger.errors import LedgerError
from ledger.primitives import Hash32, MemberId, PatientKey
from nodes.api.http import (
    REQUEST_BYTES_MAX,
    Problem,
    answer_errors,
    from_decimal,
    from_hex,
    msgpack_answer,
    peer_certificate,
    read_json_texts,
)
from nodes.client.http import HttpClient, RequestRefused, ServerBusy
from nodes.client.signing import SignedRequest
from nodes.gateway.auth import Caller, RequestAuthenticator, identify, stamp_of
from nodes.gateway.disclosure import PAGE_RECORDS_MAX, DisclosureDesk, not_available
from nodes.gateway.page import page_routes
from nodes.gateway.resident_api import ResidentApi
from nodes.observability.logs import emit_unexpected
from nodes.ports import TraceSink
from nodes.storage.errors import StorageWriteFailed
from nodes.view_rules.files import rule_files

_INDEX_MAX = 2**32
_JOBS_KEPT = 16
_JSON_ROUTES = frozenset({"transactions", "status"})
_CHAIN_ROUTES = _JSON_ROUTES | {"genesis", "headers", "memberships", "state", "logs", "blocks"}
_NOT_PROVED = Problem(
    502, "chain/not-verified", "this gateway's validator gave an answer that does not verify"
)

Report = dict[str, object]
"""Progress or summary of an index run, as JSON members."""


@dataclass(slots=True)
class Job:
    """One index run."""

    id: str
    state: str = "running"
    """"running", "done" or "failed"."""
    report: Report = field(default_factory=dict)
    task: "asyncio.Task[None] | None" = None


class IndexJobs:
    """At most one index run at a time; a second request joins the first."""

    def __init__(
        self, run: Callable[[Callable[[Report], None]], Awaitable[Report]], trace: TraceSink
    ) -> None:
        """``run`` indexes everything, calling back with its progress; returns the summary."""
        self._run = run
        self._trace = trace
        self._jobs: dict[str, Job] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with the write error after which the gateway may not go on (L1)."""

    def start(self) -> Job:
        """The running job, or a new one."""
        for job in self._jobs.values():
            if job.state == "running":
                return job
        if len(self._jobs) >= _JOBS_KEPT:
            del self._jobs[next(iter(self._jobs))]
        job = Job(secrets.token_hex(8))
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._work(job))
        return job

    def find(self, job_id: str) -> Job | None:
        """A job of this process, by its id."""
        return self._jobs.get(job_id)

    async def stop(self) -> None:
        """Ends a running job; what it has not finished is done by the next one."""
        for job in self._jobs.values():
            if job.task is not None and not job.task.done():
                job.task.cancel()
                await asyncio.wait([job.task], timeout=5)

    async def _work(self, job: Job) -> None:
        def progress(report: Report) -> None:
            job.report = report

        try:
            job.report = await self._run(progress)
            job.state = "done"
        except LedgerError as error:
            job.state = "failed"
            job.report = job.report | {"error": str(error)}
            self._trace.emit("index_failed", error=type(error).__name__)
            if isinstance(error, StorageWriteFailed) and not self.failed.done():
                self.failed.set_exception(error)
        except Exception as error:  # noqa: BLE001  # a bug in a job must not pass unseen
            job.state = "failed"
            job.report = job.report | {"error": "the gateway failed; its log says where"}
            emit_unexpected(self._trace, "request_failed", error)
        self._trace.emit("index_ended", state=job.state)


@dataclass(frozen=True, slots=True)
class GatewayApi:
    """The handlers of one gateway."""

    member: MemberId
    authenticator: RequestAuthenticator
    desk: DisclosureDesk
    node: HttpClient
    jobs: IndexJobs
    patient_key: Callable[[str, str], PatientKey]
    """Patient key of an identifier's system and value."""
    peer_member: Callable[[bytes], MemberId]
    """Whose gateway a TLS certificate (DER) belongs to; raises PeerFault."""
    residents: ResidentApi
    """The calls of a resident's page and of the recipients of shares."""

    async def chain(self, request: web.Request) -> web.Response:
        """``GET /v1/chain/...`` and ``POST /v1/chain/transactions``: passed on as they are."""
        route = request.match_info["route"]
        if route not in _CHAIN_ROUTES or (request.method == "POST" and route != "transactions"):
            raise Problem(404, "http/404", "no such call")
        target = "/v1" + request.raw_path.removeprefix("/v1/chain")
        try:
            if request.method == "POST":
                answer = await self.node.post(target, await request.read())
            else:
                answer = await self.node.get(target)
        except RequestRefused as refused:
            raise Problem(refused.status, refused.code, refused.detail) from None
        except ServerBusy as busy:
            raise Problem(
                503, busy.code, "the validator cannot answer now; try again", busy.retry_after_s
            ) from None
        if route in _JSON_ROUTES:
            return web.Response(body=answer, content_type="application/json")
        found = msgpack_answer(answer)
        # Whoever compares two hospitals in another one's page may read what anybody may ask for.
        found.headers["Access-Control-Allow-Origin"] = "*"
        return found

    async def start_index(self, request: web.Request) -> web.Response:
        """``POST /v1/index/jobs``."""
        await self._caller(request, "administrator", "gateway")
        await read_json_texts(request)
        return _job_answer(self.jobs.start())

    async def index_job(self, request: web.Request) -> web.Response:
        """``GET /v1/index/jobs/{id}``."""
        await self._caller(request, "administrator", "gateway")
        job = self.jobs.find(request.match_info["id"])
        if job is None:
            raise Problem(404, "index/no-such-job", "no such job since this gateway was started")
        return _job_answer(job)

    async def find_patient(self, request: web.Request) -> web.Response:
        """``POST /v1/patients``."""
        await self._caller(request, "registrar", "treating")
        wanted = await read_json_texts(request, "system", "value")
        return web.json_response(
            {"patient": self.patient_key(wanted["system"], wanted["value"]).hex()}
        )

    async def list_records(self, request: web.Request) -> web.Response:
        """``GET /v1/patients/{patient}/records?permission=``."""
        caller = await self._caller(request)
        permission = _permission(request) if "permission" in request.query else None
        return msgpack_answer(await self.desk.list_records(caller, _patient(request), permission))

    async def read_record(self, request: web.Request) -> web.Response:
        """``GET /v1/patients/{patient}/records/{index}?permission=``."""
        caller = await self._caller(request)
        index = from_decimal(request.match_info["index"], _INDEX_MAX, "index")
        signed = SignedRequest(request.raw_path, stamp_of(request.headers))
        answer = await self.desk.read_record(
            caller, _patient(request), index, _permission(request), signed
        )
        return msgpack_answer(answer)

    async def deidentified(self, request: web.Request) -> web.Response:
        """``GET /v1/deidentified?permission=&kind=&code=&cursor=&limit=``."""
        caller = await self._caller(request)
        query = request.query
        limit = from_decimal(query.get("limit", "50"), PAGE_RECORDS_MAX, "limit")
        if limit == 0:
            raise Problem(400, "request/malformed", "limit: at least 1 is wanted")
        cursor = from_decimal(query.get("cursor", "0"), _INDEX_MAX, "cursor")
        answer = await self.desk.deidentified(
            caller,
            _permission(request),
            query.get("kind", "")[:64],
            query.get("code", "")[:256],
            cursor,
            limit,
        )
        return msgpack_answer(answer)

    async def deidentified_images(self, request: web.Request) -> web.Response:
        """``GET /v1/deidentified/{index}/images?permission=``."""
        caller = await self._caller(request)
        index = from_decimal(request.match_info["index"], _INDEX_MAX, "index")
        answer = await self.desk.deidentified_images(caller, _permission(request), index)
        return msgpack_answer(answer)

    async def view_rules(self, request: web.Request) -> web.Response:
        """``GET /v1/view-rules/{hash}``: the file of that hash, for whoever asks."""
        file = rule_files().get(Hash32(from_hex(request.match_info["hash"], 32, "hash")))
        if file is None:
            raise Problem(404, "view-rules/unknown", "this gateway has no rule file of that hash")
        return web.Response(body=file, content_type="application/json")

    async def release(self, request: web.Request) -> web.Response:
        """``POST /v1/releases`` by another member's gateway, known by its TLS certificate.

        It passes on a reader's signed request; that the reader asked for exactly this record is
        checked here, so that no gateway can ask in the name of a reader who did not.
        """
        certificate = peer_certificate(request)
        if certificate is None:
            raise Problem(401, "request/no-certificate", "a gateway's TLS certificate is wanted")
        try:
            self.peer_member(certificate)
        except LedgerError as error:
            raise Problem(403, "request/no-member", str(error)) from None
        return msgpack_answer(await self.release_for(await request.read()))

    async def release_for(self, body: bytes) -> bytes:
        """Answer to [permission, patient, index, signed request] of a gateway that is known."""
        try:
            fields = codec.array(codec.decode(body, 1_024, "release"), 4, "release")
            permission = Hash32(codec.binary(fields[0], "release permission", 32))
            patient = PatientKey(codec.binary(fields[1], "release patient", 32))
            index = codec.uint(fields[2], "release index", _INDEX_MAX)
            signed = SignedRequest.from_value(fields[3])
        except LedgerError as error:
            raise Problem(400, "request/malformed", str(error)) from None
        wanted = f"/v1/patients/{patient.hex()}/records/{index}?permission={permission.hex()}"
        if signed.target != wanted:
            raise not_available()
        caller = await self.authenticator.verify("GET", signed.target, signed.stamp, b"")
        return await self.desk.release(caller, permission, patient, index)

    async def _caller(self, request: web.Request, *roles: str) -> Caller:
        """Who signed the request; with ``roles``, one of this hospital that has one of them."""
        return await identify(self.authenticator, request, self.member, *roles)


def create_app(api: GatewayApi, trace: TraceSink, origins: Sequence[str] = ()) -> web.Application:
    """The application over the handlers; its page may ask the gateways at ``origins``, too."""
    app = web.Application(
        client_max_size=REQUEST_BYTES_MAX, middlewares=[answer_errors(trace, _NOT_PROVED)]
    )
    app.add_routes(
        [
            web.get("/v1/chain/{route}", api.chain, allow_head=False),
            web.get("/v1/chain/{route}/{tail:.+}", api.chain, allow_head=False),
            web.post("/v1/chain/{route}", api.chain),
            web.post("/v1/index/jobs", api.start_index),
            web.get("/v1/index/jobs/{id}", api.index_job, allow_head=False),
            web.post("/v1/patients", api.find_patient),
            web.get("/v1/patients/{patient}/records", api.list_records, allow_head=False),
            web.get("/v1/patients/{patient}/records/{index}", api.read_record, allow_head=False),
            web.get("/v1/deidentified", api.deidentified, allow_head=False),
            web.get("/v1/deidentified/{index}/images", api.deidentified_images, allow_head=False),
            web.get("/v1/view-rules/{hash}", api.view_rules, allow_head=False),
            web.post("/v1/releases", api.release),
            *api.residents.routes(),
            *page_routes(origins),
        ]
    )
    return app


def _job_answer(job: Job) -> web.Response:
    body: Mapping[str, object] = {"id": job.id, "state": job.state, "report": job.report}
    return web.json_response(body)


def _patient(request: web.Request) -> PatientKey:
    return PatientKey(from_hex(request.match_info["patient"], 32, "patient"))


def _permission(request: web.Request) -> Hash32:
    if "permission" not in request.query:
        raise not_available()
    return Hash32(from_hex(request.query["permission"], 32, "permission"))
