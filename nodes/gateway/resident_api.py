"""HTTP calls that a resident's page and the recipient of a share need (docs/resident-api.md)."""

import json
from dataclasses import dataclass

from aiohttp import web

from ledger.crypto.keys import PublicKey
from ledger.errors import PeerFault
from ledger.primitives import Hash32, MemberId, Nonce, PatientKey, Signature
from ledger.types.residents import RESIDENT_ROLES
from nodes.api.http import ANSWER_BYTES_MAX, Problem, from_hex, read_json_texts
from nodes.client.enrolment import check_digits
from nodes.gateway.auth import RequestAuthenticator, identify
from nodes.gateway.enrolments import Enrolments
from nodes.gateway.shares import CONTENT_TYPE, ShareDesk

_RECIPIENT_MAX = 200
_PASSCODE_MAX = 64
_BODY_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Opening:
    """The body of a manifest request."""

    passcode: str
    embedded_max: int
    """Characters of a file that may come inside the manifest."""


@dataclass(frozen=True, slots=True)
class ResidentApi:
    """The handlers."""

    member: MemberId
    authenticator: RequestAuthenticator
    enrolments: Enrolments
    shares: ShareDesk

    def routes(self) -> list[web.RouteDef]:
        """All calls of this part."""
        enrolment = "/v1/enrolments/{challenge}"
        return [
            web.post("/v1/enrolments", self.new_enrolment),
            web.get(enrolment, self.enrolment, allow_head=False),
            web.post(f"{enrolment}/key", self.post_key),
            web.post("/v1/shares/{share}/{token}", self.open_share),
            web.get("/v1/shares/files/{name}", self.shared_file, allow_head=False),
        ]

    async def new_enrolment(self, request: web.Request) -> web.Response:
        """``POST /v1/enrolments`` by a registrar."""
        await identify(self.authenticator, request, self.member, "registrar")
        wanted = await read_json_texts(request, "patient", "role")
        if wanted["role"] not in RESIDENT_ROLES:
            raise Problem(400, "request/malformed", f"role: one of {', '.join(RESIDENT_ROLES)}")
        patient = PatientKey(from_hex(wanted["patient"], 32, "patient"))
        made = self.enrolments.new(patient, wanted["role"])
        return web.json_response({"code": made.code.to_text(), "expires_ms": made.expires_ms})

    async def enrolment(self, request: web.Request) -> web.Response:
        """``GET /v1/enrolments/{challenge}`` by a registrar."""
        await identify(self.authenticator, request, self.member, "registrar")
        found = self.enrolments.find(_challenge(request))
        return web.json_response(
            {
                "patient": found.code.patient.hex(),
                "role": found.code.role,
                "public_key": found.key.encoded.hex() if found.key else "",
                "possession": found.possession.hex() if found.possession else "",
                "check": check_digits(found.key.key_id) if found.key else "",
            }
        )

    async def post_key(self, request: web.Request) -> web.Response:
        """``POST /v1/enrolments/{challenge}/key`` by whoever holds the code."""
        wanted = await read_json_texts(request, "public_key", "possession")
        try:
            key = PublicKey.decode(from_hex(wanted["public_key"], 0, "public_key"))
            possession = Signature(from_hex(wanted["possession"], Signature.SIZE, "possession"))
        except PeerFault as error:
            raise Problem(400, "request/malformed", str(error)) from None
        self.enrolments.post(_challenge(request), key, possession)
        return web.json_response({"key_id": key.key_id.hex(), "check": check_digits(key.key_id)})

    async def open_share(self, request: web.Request) -> web.Response:
        """``POST /v1/shares/{share}/{token}``: the manifest of a SMART Health Link."""
        share = Hash32(from_hex(request.match_info["share"], 32, "share"))
        token = from_hex(request.match_info["token"], 32, "token")
        wanted = _opening(await request.read())
        files = await self.shares.open(share, token, wanted.passcode)
        shown = []
        space = ANSWER_BYTES_MAX
        for content in files:
            space -= len(content)
            if space >= 0 and len(content) <= wanted.embedded_max:
                shown.append({"contentType": CONTENT_TYPE, "embedded": content})
                continue
            name = self.shares.keep(share, content)
            location = str(request.url.origin().with_path(f"/v1/shares/files/{name}"))
            shown.append({"contentType": CONTENT_TYPE, "location": location})
        return web.json_response(
            {"status": "finalized", "files": shown}, headers={"Cache-Control": "no-store"}
        )

    async def shared_file(self, request: web.Request) -> web.Response:
        """``GET /v1/shares/files/{name}``: a file that did not fit the manifest."""
        content = await self.shares.fetch(request.match_info["name"])
        return web.Response(
            text=content, content_type="application/jose", headers={"Cache-Control": "no-store"}
        )


def _challenge(request: web.Request) -> Nonce:
    return Nonce(from_hex(request.match_info["challenge"], Nonce.SIZE, "challenge"))


def _opening(body: bytes) -> Opening:
    """The manifest request; what a recipient calls itself is checked and not kept (PRIV-1)."""
    try:
        value = json.loads(body) if len(body) <= _BODY_MAX else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Problem(400, "request/malformed", "the body is no JSON object, or too long")
    recipient, passcode = value.get("recipient"), value.get("passcode")
    embedded = value.get("embeddedLengthMax", ANSWER_BYTES_MAX)
    if not isinstance(recipient, str) or not 0 < len(recipient) <= _RECIPIENT_MAX:
        raise Problem(400, "request/malformed", "recipient: who opens it, in 1 to 200 characters")
    if not isinstance(passcode, str) or not 0 < len(passcode) <= _PASSCODE_MAX:
        raise Problem(400, "request/malformed", "passcode: 1 to 64 characters")
    if not isinstance(embedded, int) or isinstance(embedded, bool) or embedded < 0:
        raise Problem(400, "request/malformed", "embeddedLengthMax: a whole number is wanted")
    try:
        passcode.encode()
    except UnicodeEncodeError:
        raise Problem(400, "request/malformed", "passcode: no text") from None
    return Opening(passcode, embedded)
