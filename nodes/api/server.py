"""The validator's HTTP interface (specification: HTTP, validator).

Mutual TLS with a certificate of any member's authority. Whatever is served is proved by itself
or is bytes of the chain, so no caller has more rights here than another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from ledger import codec
from ledger.codec import Value
from ledger.contract_api import Column
from ledger.light.bundles import (
    MEMBERSHIP_CHANGES_PAGE,
    PAGE_ENTRIES_MAX,
    STATE_KEY_BYTES_MAX,
    MembershipChange,
    encode_changes,
)
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.primitives import Hash32
from nodes.api.facade import NodeFacade, SubmitResult
from nodes.api.http import (
    REQUEST_BYTES_MAX,
    Problem,
    answer_errors,
    from_decimal,
    from_hex,
    msgpack_answer,
)
from nodes.api.proofs import ProofMaker
from nodes.ports import TraceSink

SUBMISSION_TRANSACTIONS_MAX = 500
"""Transactions in one submission."""
WAIT_MS_MAX = 30_000
"""How long one question may wait for a commit; the client asks again."""
MEMPOOL_FULL = "mempool/full"
"""Code of a refusal that passes by itself."""

_HEIGHT_MAX = 2**63


@dataclass(frozen=True, slots=True)
class NodeApi:
    """The handlers over one node."""

    node: NodeFacade
    proofs: ProofMaker

    async def submit(self, request: web.Request) -> web.Response:
        """``POST /v1/transactions``."""
        items = codec.array_up_to(
            codec.decode(await request.read(), REQUEST_BYTES_MAX, "submission"),
            SUBMISSION_TRANSACTIONS_MAX,
            "submission",
        )
        encoded = [codec.binary(item, "transaction", TRANSACTION_BYTES_MAX) for item in items]
        results = await self.node.submit(encoded)
        if results and all(result.code == MEMPOOL_FULL for result in results):
            raise Problem(503, MEMPOOL_FULL, "too many transactions wait; try again", 1)
        return web.json_response({"results": [_result_json(result) for result in results]})

    async def transaction(self, request: web.Request) -> web.Response:
        """``GET /v1/transactions/{id}?wait=ms``."""
        transaction_id = Hash32(from_hex(request.match_info["id"], 32, "transaction id"))
        wait_ms = from_decimal(request.query.get("wait", "0"), WAIT_MS_MAX, "wait")
        if wait_ms and self.node.store.executed(transaction_id) is None:
            await self.node.wait_committed(transaction_id, wait_ms)
        return web.json_response(self._transaction_json(transaction_id))

    def _transaction_json(self, transaction_id: Hash32) -> Mapping[str, object]:
        place = self.node.store.executed(transaction_id)
        if place is None:
            status = "pending" if self.node.pending(transaction_id) else "unknown"
            return {"id": transaction_id.hex(), "status": status}
        height, index = place
        receipt = self.node.store.receipt(height, index)
        return {
            "id": transaction_id.hex(),
            "status": "committed",
            "height": height,
            "index": index,
            "receipt": {
                "code": receipt.code,
                "fields": to_json(receipt.fields),
                "encoded": receipt.encode().hex(),
            },
        }

    async def status(self, _: web.Request) -> web.Response:
        """``GET /v1/status``."""
        return web.json_response(dict(self.node.status()))

    async def genesis(self, _: web.Request) -> web.Response:
        """``GET /v1/genesis``."""
        return msgpack_answer(self.node.genesis.encode())

    async def header(self, request: web.Request) -> web.Response:
        """``GET /v1/headers/latest`` and ``/v1/headers/{height}``."""
        height = self._height(request)
        if request.match_info.get("height") is None:
            self.proofs.require_block()
        if self.node.store.header(height) is None:
            raise self._no_such_height()
        return msgpack_answer(self.node.store.certified_header(height).encode())

    async def memberships(self, request: web.Request) -> web.Response:
        """``GET /v1/memberships?from=h``: the changes of the validators after height h.

        At most MEMBERSHIP_CHANGES_PAGE of them, oldest first; ask again from the last one's height.
        """
        after = from_decimal(request.query.get("from", "0"), _HEIGHT_MAX, "from")
        found = self.node.store.membership_changes(after, MEMBERSHIP_CHANGES_PAGE)
        return msgpack_answer(encode_changes(tuple(MembershipChange(*each) for each in found)))

    async def state(self, request: web.Request) -> web.Response:
        """``GET /v1/state/{key hex}``."""
        return msgpack_answer(self.proofs.state(_key(request)))

    async def log(self, request: web.Request) -> web.Response:
        """``GET /v1/logs/{key hex}``."""
        return msgpack_answer(self.proofs.log(self._log_key(request)))

    async def log_entry(self, request: web.Request) -> web.Response:
        """``GET /v1/logs/{key hex}/{index}``."""
        index = from_decimal(request.match_info["index"], _HEIGHT_MAX, "index")
        return msgpack_answer(self.proofs.log_entry(self._log_key(request), index))

    async def log_entries(self, request: web.Request) -> web.Response:
        """``GET /v1/logs/{key hex}/entries?indexes=i,j,...``, rising."""
        texts = request.query.get("indexes", "").split(",")
        if len(texts) > PAGE_ENTRIES_MAX:
            raise Problem(400, "request/malformed", f"at most {PAGE_ENTRIES_MAX} indexes")
        indexes = [from_decimal(text, _HEIGHT_MAX, "indexes") for text in texts]
        if indexes != sorted(set(indexes)):
            raise Problem(400, "request/malformed", "indexes: rising numbers are wanted")
        return msgpack_answer(self.proofs.log_entries(self._log_key(request), indexes))

    def _no_such_height(self) -> Problem:
        store = self.node.store
        first = max(1, store.base)
        return Problem(404, "chain/no-such-height", f"blocks {first} to {store.height} are here")

    async def block(self, request: web.Request) -> web.Response:
        """``GET /v1/blocks/{height}``: receipts too, which the header's receipt root proves."""
        height = self._height(request)
        block, certificate = self.node.store.block(height), self.node.store.certificate(height)
        if block is None or certificate is None:
            raise self._no_such_height()
        receipts = self.node.store.encoded_receipts(height)
        return msgpack_answer(codec.encode([block.encoded, certificate.encode(), receipts]))

    def _log_key(self, request: web.Request) -> bytes:
        """The key, unless it holds a value of another kind than a log."""
        key = _key(request)
        if self.node.store.get(Column.VALUE, key) is not None and not self.proofs.is_log(key):
            raise Problem(404, "log/not-a-log", "this state key holds no log")
        return key

    def _height(self, request: web.Request) -> int:
        text = request.match_info.get("height", "latest")
        newest = self.node.store.height
        return newest if text == "latest" else from_decimal(text, _HEIGHT_MAX, "height")


def create_app(node: NodeFacade, trace: TraceSink, *access: Middleware) -> web.Application:
    """The application; ``access`` are middlewares that decide whom to serve."""
    api = NodeApi(node, ProofMaker(node.store))
    app = web.Application(
        client_max_size=REQUEST_BYTES_MAX, middlewares=[answer_errors(trace), *access]
    )
    app.add_routes(
        [
            web.post("/v1/transactions", api.submit),
            web.get("/v1/transactions/{id}", api.transaction, allow_head=False),
            web.get("/v1/status", api.status, allow_head=False),
            web.get("/v1/genesis", api.genesis, allow_head=False),
            web.get("/v1/headers/latest", api.header, allow_head=False),
            web.get("/v1/headers/{height}", api.header, allow_head=False),
            web.get("/v1/memberships", api.memberships, allow_head=False),
            web.get("/v1/state/{key}", api.state, allow_head=False),
            web.get("/v1/logs/{key}", api.log, allow_head=False),
            web.get("/v1/logs/{key}/entries", api.log_entries, allow_head=False),
            web.get("/v1/logs/{key}/{index}", api.log_entry, allow_head=False),
            web.get("/v1/blocks/{height}", api.block, allow_head=False),
        ]
    )
    return app


def to_json(value: Value) -> object:
    """A codec value as JSON: byte strings in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, int | str) or value is None:
        return value
    return [to_json(item) for item in value]


def _result_json(result: SubmitResult) -> Mapping[str, object]:
    return {
        "id": None if result.id is None else result.id.hex(),
        "status": result.status,
        "code": result.code,
        "detail": result.detail,
    }


def _key(request: web.Request) -> bytes:
    key = from_hex(request.match_info["key"], 0, "state key")
    if len(key) > STATE_KEY_BYTES_MAX:
        raise Problem(400, "request/malformed", f"a state key has at most {STATE_KEY_BYTES_MAX}")
    return key
