"""The hospital staff's client: finds a patient and reads records wherever they are held."""

from collections.abc import Sequence

from ledger.crypto.keys import PublicKey, Signer
from ledger.primitives import Hash32, KeyId, PatientKey, Signature, TimestampMs
from ledger.types.genesis import Genesis
from nodes.client.chain import GATEWAY_PREFIX, ChainClient
from nodes.client.enrolment import EnrolmentCode
from nodes.client.http import AnswerUnreadable, HttpClient
from nodes.client.records import PatientReader, RecordList, ShownRecord, find_row
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient

VIEW = "clinical"


class HospitalClient:
    """One member of staff over the own hospital's gateway."""

    def __init__(self, http: HttpClient, genesis: Genesis, signer: Signer) -> None:
        """``http`` signs its requests with ``signer``'s key."""
        chain = ChainClient(http, GATEWAY_PREFIX)
        self.session = LightSession(chain, genesis)
        self._http = http
        self._transactions = TransactionClient(chain, genesis.chain_id, signer)
        self._reader = PatientReader(http, self.session, self._transactions)

    async def patient(self, system: str, value: str) -> PatientKey:
        """The patient key of an identifier; only the gateway has the secret behind it."""
        answer = await self._http.post_json("/v1/patients", {"system": system, "value": value})
        try:
            return PatientKey(bytes.fromhex(str(answer.get("patient"))))
        except ValueError:
            raise AnswerUnreadable(self._http.base_url, "it gave no patient key") from None

    async def request_permission(self, patient: PatientKey, purpose: str) -> Hash32:
        """A committed permission to read the patient's records for a stated purpose."""
        return await self._reader.request_permission(patient, VIEW, purpose)

    async def list(self, patient: PatientKey, permission: Hash32) -> RecordList:
        """The patient's complete list; this is recorded in the patient's access log."""
        return await self._reader.list(patient, permission)

    async def read(self, patient: PatientKey, index: int, permission: Hash32) -> ShownRecord:
        """One record in whole, verified against the chain; recorded in the access log."""
        _, listed = await self.session.patient_list(patient)
        row = find_row(listed, index)
        return await self._reader.read(row, permission, VIEW)

    async def new_enrolment(self, patient: PatientKey, role: str) -> tuple[EnrolmentCode, int]:
        """A one-time code of the own gateway for a person's key, and when it ends."""
        wanted = {"patient": patient.hex(), "role": role}
        answer = await self._http.post_json("/v1/enrolments", wanted)
        code = EnrolmentCode.from_text(str(answer.get("code")))
        expires = answer.get("expires_ms")
        if code.patient != patient or code.role != role or not isinstance(expires, int):
            raise AnswerUnreadable(self._http.base_url, "it gave a code for something else")
        return code, expires

    async def posted_key(self, code: EnrolmentCode) -> tuple[PublicKey, Signature] | None:
        """The key that was posted under a code, its proof checked; None while there is none."""
        answer = await self._http.get_json(f"/v1/enrolments/{code.challenge.hex()}")
        try:
            encoded = bytes.fromhex(str(answer.get("public_key")))
            proof = bytes.fromhex(str(answer.get("possession")))
        except ValueError:
            raise AnswerUnreadable(self._http.base_url, "it gave no key") from None
        if not encoded:
            return None
        key, possession = PublicKey.decode(encoded), Signature(proof)
        code.check(key, possession)
        return key, possession

    async def bind_resident(
        self,
        code: EnrolmentCode,
        key: PublicKey,
        possession: Signature,
        valid_until_ms: TimestampMs,
        replaces: Sequence[KeyId] = (),
    ) -> None:
        """Binds a person's key, proved under ``code``; the registrar has seen the person.

        The keys that it ``replaces`` end at once.
        """
        await self._transactions.execute(
            "members",
            "bind_resident",
            [
                code.patient,
                code.role,
                key.encoded,
                valid_until_ms,
                code.challenge,
                possession,
                list(replaces),
            ],
        )

    async def decide_copy(
        self, patient: PatientKey, refused: str | None, until_ms: TimestampMs
    ) -> None:
        """Answers a request for the own records: refused for a reason, or readable until then.

        Raises ActionRefused, as where no request waits.
        """
        await self._transactions.execute("copy", "decide", [patient, refused, until_ms])

    async def end_share(self, share: Hash32) -> None:
        """Ends a share that the own hospital serves; raises ActionRefused."""
        await self._transactions.execute("share", "end", [share])

    async def start_index(self) -> dict[str, object]:
        """Starts an index run at the gateway, or joins the running one; its id and state."""
        return dict(await self._http.post_json("/v1/index/jobs", {}))

    async def index_job(self, job_id: str) -> dict[str, object]:
        """Progress or summary of an index run."""
        return dict(await self._http.get_json(f"/v1/index/jobs/{job_id}"))
