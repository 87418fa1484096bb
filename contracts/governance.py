"""Governance: who belongs, who votes, what views show. One change of votes in a block (M2).

A proposal is carried as soon as a quorum of the hospitals that vote has approved it. A hospital
renews its own consensus key alone: its vote stays one vote, and it must be able to come back
after it lost the memory of what it signed (A2).
"""

from dataclasses import dataclass, replace
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import (
    find_hospitals,
    find_member,
    find_proposal,
    find_user,
    find_view_hashes,
)
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.crypto.keys import PUBLIC_KEY_BYTES_MAX, PublicKey, verify_signature
from ledger.errors import NotCanonical, PeerFault
from ledger.execution import current_voters
from ledger.limits import MEMBERS_MAX, PROPOSAL_HEIGHTS, VALIDATORS_MAX, VIEW_VERSIONS_MAX
from ledger.primitives import Hash32, MemberId, Signature, TimestampMs
from ledger.types.entries import encode_view_hashes, member_key, user_key, view_key
from ledger.types.genesis import Member, UserKey
from ledger.types.governance import (
    HOSPITALS_KEY,
    PROPOSALS_LOG,
    Admit,
    Change,
    GiveVote,
    Proposal,
    SetViewRules,
    TakeVote,
    change_from_value,
    encode_hospitals,
    possession_digest,
    proposal_key,
)
from ledger.types.membership import VOTERS_KEY, Membership, Validator

FOR_EVER = TimestampMs(2**63)
"""A consensus key does not expire: its certificate may, and the chain must go on (M3)."""


def validator_key(member: MemberId, key: PublicKey) -> UserKey:
    """How a consensus key is registered: it may report evidence, and can be found by its id."""
    return UserKey(member, key, ("validator",), FOR_EVER, None)


@dataclass(frozen=True, slots=True)
class Propose:
    """A hospital asks the others to change something, and approves it itself."""

    change: Change

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[change]; raises PeerFault."""
        (change,) = codec.array(args, 1, "governance/propose")
        return cls(change_from_value(change))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Keeps and lists the proposal; returns (proposal, 1 if it is carried at once).

        What cannot be carried now is refused now, with the codes of ``_check``.
        """
        _check(self.change, state)
        proposal = Proposal(self.change, context.height, (), False)
        answer = _approve(context.transaction_id, proposal, context, state)
        state.append(PROPOSALS_LOG, context.transaction_id)
        return answer


@dataclass(frozen=True, slots=True)
class Approve:
    """A hospital agrees to a proposal."""

    proposal: Hash32

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[proposal]; raises PeerFault."""
        (proposal,) = codec.array(args, 1, "governance/approve")
        return cls(Hash32(codec.binary(proposal, "governance/approve", Hash32.SIZE)))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Counts the approval; returns (proposal, 1 if that carries it).

        Refused: ``governance/unknown-proposal``, ``already-carried``, ``lapsed``,
        ``already-approved``, and the codes of ``_check`` where it would be carried and cannot.
        """
        found = find_proposal(state, self.proposal)
        if found is None:
            raise Refused("governance/unknown-proposal")
        if found.carried:
            raise Refused("governance/already-carried")
        if context.height > found.height + PROPOSAL_HEIGHTS:
            raise Refused("governance/lapsed")
        if context.signer.member in found.approvals:
            raise Refused("governance/already-approved")
        return _approve(self.proposal, found, context, state)


@dataclass(frozen=True, slots=True)
class RenewKey:
    """A hospital votes with another consensus key from the next height on."""

    public_key: PublicKey
    possession: Signature
    """Of ``public_key`` over ``possession_digest``."""

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[public key, signature of possession]; raises PeerFault."""
        key, signature = codec.array(args, 2, "governance/renew_key")
        return cls(
            PublicKey.decode(codec.binary(key, "governance/renew_key", PUBLIC_KEY_BYTES_MAX)),
            Signature(codec.binary(signature, "governance/renew_key", Signature.SIZE)),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Registers the key; the old one never votes again. Returns (key id,).

        Refused: ``governance/key-exists`` for any key that was ever registered,
        ``not-possessed``, ``change-in-this-block``.
        """
        own = context.signer.member
        member = find_member(state, own)
        if member is None:
            raise Refused("governance/unknown-member")
        if find_user(state, self.public_key.key_id) is not None:
            # A key votes for one hospital, once: what was registered may have signed before.
            raise Refused("governance/key-exists")
        try:
            digest = possession_digest(context.chain_id, own, self.public_key)
            verify_signature(self.public_key, self.possession, digest, "possession")
        except PeerFault:
            raise Refused("governance/not-possessed") from None
        now = current_voters(state)
        if now.membership.index_of(own) is not None:
            others = [v for v in now.membership.validators if v.member != own]
            _vote_next([*others, Validator(own, self.public_key)], context, state)
        _put_member(replace(member, consensus_key=self.public_key.encoded), state)
        return (self.public_key.key_id,)


def _approve(
    proposal_id: Hash32, proposal: Proposal, context: CallContext, state: StateView
) -> tuple[Value, ...]:
    approvals = tuple(sorted({*proposal.approvals, context.signer.member}))
    membership = current_voters(state).membership
    counted = sum(membership.index_of(member) is not None for member in approvals)
    carried = counted >= membership.quorum
    if carried:
        _check(proposal.change, state)
        _carry(proposal.change, context, state)
    kept = Proposal(proposal.change, proposal.height, approvals, carried)
    state.put(proposal_key(proposal_id), kept.encode())
    return proposal_id, int(carried)


def _check(change: Change, state: StateView) -> None:
    """Refuses what makes no sense in this state:

    Admit: ``governance/member-exists``, ``too-many-hospitals``, ``foreign-key``, ``key-exists``,
    ``no-administrator``.
    GiveVote: ``unknown-hospital``, ``votes-already``, ``too-many-validators``.
    TakeVote: ``does-not-vote``, ``last-validator``.
    SetViewRules: ``rules-exist``, ``too-many-versions``.
    """
    membership = current_voters(state).membership
    match change:
        case Admit(member=member, users=users):
            if find_member(state, member.id) is not None:
                raise Refused("governance/member-exists")
            if member.kind == "hospital" and len(find_hospitals(state)) >= MEMBERS_MAX:
                raise Refused("governance/too-many-hospitals")
            if any(_is_foreign(user, member) for user in users):
                raise Refused("governance/foreign-key")
            keys = [user.public_key.key_id for user in users]
            if member.consensus_key:
                # Also among these: a consensus key that acts as another escapes evidence.
                keys.append(PublicKey.decode(member.consensus_key).key_id)
            if len(set(keys)) < len(keys) or any(find_user(state, key) for key in keys):
                raise Refused("governance/key-exists")
            if not any("administrator" in user.roles for user in users):
                raise Refused("governance/no-administrator")
        case GiveVote(member=name):
            found = find_member(state, name)
            if found is None or found.kind != "hospital":
                raise Refused("governance/unknown-hospital")
            if membership.index_of(name) is not None:
                raise Refused("governance/votes-already")
            if membership.n >= VALIDATORS_MAX:
                raise Refused("governance/too-many-validators")
        case TakeVote(member=name):
            if membership.index_of(name) is None:
                raise Refused("governance/does-not-vote")
            if membership.n == 1:
                raise Refused("governance/last-validator")
        case SetViewRules(view=view, rules=rules):
            known = find_view_hashes(state, view)
            if rules in known:
                # The version is the place in the list: a hash that comes back would have two.
                raise Refused("governance/rules-exist")
            if len(known) >= VIEW_VERSIONS_MAX:
                raise Refused("governance/too-many-versions")


def _is_foreign(user: UserKey, member: Member) -> bool:
    """Whether a key cannot come with ``member``: of another, a resident's, or one that votes."""
    return user.member != member.id or user.patient is not None or "validator" in user.roles


def _carry(change: Change, context: CallContext, state: StateView) -> None:
    current = current_voters(state).membership.validators
    match change:
        case Admit(member=member, users=users):
            _put_member(member, state)
            for user in users:
                state.put(user_key(user.public_key.key_id), codec.encode(user.to_value()))
        case GiveVote(member=name):
            hospital = find_member(state, name)
            if hospital is None:
                raise NotCanonical("state", "a hospital was checked, and is not there")
            key = PublicKey.decode(hospital.consensus_key)
            _vote_next([*current, Validator(name, key)], context, state)
        case TakeVote(member=name):
            _vote_next([v for v in current if v.member != name], context, state)
        case SetViewRules(view=view, rules=rules):
            state.put(view_key(view), encode_view_hashes((*find_view_hashes(state, view), rules)))


def _put_member(member: Member, state: StateView) -> None:
    state.put(member_key(member.id), codec.encode(member.to_value()))
    if member.kind != "hospital":
        return
    key = PublicKey.decode(member.consensus_key)
    state.put(user_key(key.key_id), codec.encode(validator_key(member.id, key).to_value()))
    known = find_hospitals(state)
    if member.id not in known:
        state.put(HOSPITALS_KEY, encode_hospitals(tuple(sorted((*known, member.id)))))


def _vote_next(validators: list[Validator], context: CallContext, state: StateView) -> None:
    """These vote from the next height on. A second change in one block is refused, because the
    header names the membership before and after, and one step must lead from one to the other."""
    now = current_voters(state)
    if now.since > context.height:
        raise Refused("governance/change-in-this-block")
    membership = Membership(tuple(sorted(validators, key=lambda v: v.member)))
    state.put(VOTERS_KEY, now.changed(context.height, membership).encoded)


GOVERNANCE = ActionContract(
    "governance", {"propose": Propose, "approve": Approve, "renew_key": RenewKey}
)
