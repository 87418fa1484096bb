"""The contracts of this execution version; the only module that knows them all."""

from collections.abc import Mapping, Sequence

from contracts.access import ACCESS
from contracts.actions import ActionContract
from contracts.audit import AUDIT
from contracts.consent import CONSENT
from contracts.copies import COPY
from contracts.evidence import EVIDENCE
from contracts.governance import GOVERNANCE
from contracts.index import INDEX
from contracts.lookup import find_hospitals, find_member, find_user
from contracts.members import MEMBERS, genesis_values
from contracts.release import RELEASE
from contracts.sharing import SHARE
from ledger.contract_api import Contract, StateView
from ledger.primitives import KeyId, MemberId
from ledger.types.genesis import Genesis, Member, UserKey

CONTRACTS: Mapping[str, ActionContract] = {
    contract.name: contract
    for contract in (
        MEMBERS,
        GOVERNANCE,
        EVIDENCE,
        INDEX,
        RELEASE,
        CONSENT,
        COPY,
        ACCESS,
        SHARE,
        AUDIT,
    )
}


class Registry:
    """Implements ``ledger.contract_api.ContractTable``."""

    def find(self, name: str) -> Contract | None:
        """The contract of that name."""
        return CONTRACTS.get(name)

    def genesis_values(self, genesis: Genesis) -> Sequence[tuple[bytes, bytes]]:
        """State keys and values at height 0."""
        return genesis_values(genesis)

    def signer(self, state: StateView, key_id: KeyId) -> UserKey | None:
        """The registration of a key, or None; validity is execution's question."""
        return find_user(state, key_id)

    def member(self, state: StateView, member: MemberId) -> Member | None:
        """The organisation of that id."""
        return find_member(state, member)

    def hospitals(self, state: StateView) -> Sequence[MemberId]:
        """Ids of all hospitals, voting or not."""
        return find_hospitals(state)
