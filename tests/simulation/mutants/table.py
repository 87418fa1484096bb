"""Planted bugs of the protocol: each an edit of shipped functions, and who had it before.

``python -m tests.simulation.main --mutants`` must find every one of them by a property that does
not hold. None may be trivial, such as one that raises.
"""

from dataclasses import dataclass

from tests.simulation.mutants.patching import Edit


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    name: str
    what: str
    """The bug, in one sentence."""
    source: str
    """Who had it, or the rule that it breaks."""
    edits: tuple[Edit, ...]


_MESSAGES = "ledger.consensus.messages:Verifier"
_REPLICA = "ledger.consensus.replica:Replica"
_ROUND = "ledger.consensus.phases:Round"
_VOTES = "ledger.consensus.votes:VoteBook"
_CHANGES = "ledger.consensus.view_change"
_VOTER = "nodes.voting:Voter"
_LOG = "nodes.storage.safety_store:VoteLog"


def _mutant(name: str, what: str, source: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, what, source, tuple(Edit(*edit) for edit in edits))


MUTANTS: tuple[Mutant, ...] = (
    # -- quorums and certificates
    _mutant(
        "quorum-too-small",
        "a quorum is one vote less",
        "raijin #19, celo #253, klaytn #2026",
        ("ledger.quorum:quorum", "// 2 + 1", "// 2"),
    ),
    _mutant(
        "quorum-2f+1",
        "a quorum is 2f+1 for every n",
        "raijin #19, Consensys quorum #796",
        (
            "ledger.quorum:quorum",
            "(n + faults_tolerated(n)) // 2 + 1",
            "2 * faults_tolerated(n) + 1",
        ),
    ),
    _mutant(
        "quorum-too-large",
        "a quorum needs everybody",
        "sawtooth 68219d3",
        ("ledger.quorum:quorum", "(n + faults_tolerated(n)) // 2 + 1", "n"),
    ),
    _mutant(
        "witness-is-one",
        "one higher view-change moves a replica",
        "FISCO #2211",
        ("ledger.quorum:witness", "faults_tolerated(n) + 1", "1"),
    ),
    _mutant(
        "certificate-of-f+1",
        "a stored certificate needs f+1 signers",
        "Quorum #1324",
        (
            "ledger.types.certificate:verify_quorum_certificate",
            "if len(signers) < membership.quorum:",
            "if len(signers) < membership.witness:",
        ),
    ),
    _mutant(
        "certificate-repeats",
        "a signer may stand in a certificate twice",
        "B5",
        (
            "ledger.types.certificate:verify_quorum_certificate",
            "if any(a >= b for a, b in itertools.pairwise(signers)):",
            "if any(a > b for a, b in itertools.pairwise(signers)):",
        ),
    ),
    _mutant(
        "certificate-unverified",
        "signatures of a certificate are not verified",
        "exochain #110",
        (
            "ledger.types.certificate:verify_quorum_certificate",
            "for index, signature in zip(signers, certificate.signatures, strict=True):",
            "for index, signature in ():",
        ),
    ),
    _mutant(
        "certificate-of-another",
        "a certificate need not name the header",
        "bft-smart #121",
        (
            "ledger.types.certificate:verify_certified_header",
            "header.hash",
            "certificate.block_hash",
        ),
    ),
    # -- authentication of messages
    _mutant(
        "commit-unsigned",
        "the signature of a COMMIT is not verified",
        "raijin #5",
        (
            f"{_MESSAGES}._vote",
            'self._signed("commit", message.signer, message.signature, digest)',
            "pass",
        ),
    ),
    _mutant(
        "prepare-unsigned",
        "the signature of a PREPARE is not verified",
        "raijin #6",
        (
            f"{_MESSAGES}._vote",
            'self._signed("prepare", message.signer, message.signature, digest)',
            "pass",
        ),
    ),
    _mutant(
        "view-change-unsigned",
        "the signature of a VIEW-CHANGE is not verified",
        "raijin #5",
        (
            f"{_MESSAGES}._view_change",
            'self._signed("view-change", signer, message.signature, digest)',
            "pass",
        ),
    ),
    _mutant(
        "anyone-proposes",
        "a PRE-PREPARE may come from any validator",
        "sawtooth e7b4ba2",
        (
            f"{_MESSAGES}._pre_prepare",
            "if message.signer != self.primary(message.height, message.view):",
            "if False:",
        ),
    ),
    _mutant(
        "primary-prepares",
        "the primary's PREPARE counts beside its proposal",
        "sawtooth 180ceed",
        (
            f"{_MESSAGES}._vote",
            "if message.signer == self.primary(message.height, message.view):",
            "if False:",
        ),
    ),
    _mutant(
        "prepared-unverified",
        "prepared certificates in view-changes are believed",
        "FISCO #2447",
        (f"{_MESSAGES}._view_change", "self.verify_prepared(prepared)", "pass"),
    ),
    _mutant(
        "new-view-one-change",
        "a NEW-VIEW may repeat one view-change",
        "pbft.tla l. 593",
        (
            f"{_MESSAGES}._new_view",
            "if signers != sorted(set(signers)) or len(signers) != self.membership.quorum:",
            "if not signers:",
        ),
    ),
    # -- agreement
    _mutant(
        "prepare-is-commit",
        "PREPAREs count as COMMITs",
        "raijin #17, FISCO FIB-134",
        (
            f"{_REPLICA}._on_message",
            "message):\n            self._try_prepared()",
            "message):\n            self._round.commits.add(message)\n"
            "            self._try_prepared()\n            self._try_decide()",
        ),
    ),
    _mutant(
        "prepared-one-less",
        "one PREPARE less makes a block prepared",
        "2.2, prepared",
        (
            f"{_ROUND}.prepared_certificate",
            "if len(votes) < quorum - 1:",
            "if len(votes) < quorum - 2:",
        ),
    ),
    _mutant(
        "second-vote-replaces",
        "a second vote of a signer replaces the first",
        "B4",
        (
            f"{_VOTES}.add",
            "return earlier if earlier.block_hash != vote.block_hash else None",
            "views[vote.view] = vote\n        return None",
        ),
    ),
    _mutant(
        "commits-of-all-views",
        "COMMITs of different views are added up",
        "2.2, COMMIT",
        (
            f"{_VOTES}.decided",
            "key = (vote.view, vote.block_hash)",
            "key = (View(0), vote.block_hash)",
        ),
    ),
    _mutant(
        "votes-for-any-proposal",
        "a second proposal of a view is voted for, too",
        "2.2, PRE-PREPARE",
        (
            f"{_REPLICA}._on_pre_prepare",
            "self._effects.append(do.Equivocation(current, message))\n        return",
            "self._accept(message)\n        return",
        ),
    ),
    _mutant(
        "accepts-before-entering",
        "a proposal is voted for in a view not entered",
        "raijin #7",
        (
            f"{_REPLICA}._on_pre_prepare",
            "if message.view != self.view or not self.entered:",
            "if message.view != self.view:",
        ),
        (
            f"{_REPLICA}._on_checked",
            "proposal.block.hash == block_hash and self.entered",
            "proposal.block.hash == block_hash",
        ),
    ),
    _mutant(
        "unexecuted-vote",
        "a proposal is voted for whatever it executes to",
        "decision 2, D4",
        ("nodes.chain:Chain.check", "return False", "return True"),
    ),
    _mutant(
        "parent-unchecked",
        "a proposal need not follow the newest block",
        "FISCO FIB-128",
        (
            f"{_REPLICA}._on_pre_prepare",
            "if message.block.header.parent != self._parent:",
            "if False:",
        ),
        ("ledger.execution:verify_block", '"parent": position.parent,', ""),
        (
            "ledger.execution:verify_block",
            "for item in fields(Header)}",
            'for item in fields(Header) if item.name != "parent"}',
        ),
    ),
    # -- view change
    _mutant(
        "drop-prepared",
        "what was prepared is not told in a view change",
        "raijin #8, cothority #2080",
        (
            f"{_REPLICA}._vote_view_change",
            "self.last_certificate, self._round.prepared,",
            "self.last_certificate, None,",
        ),
    ),
    _mutant(
        "lowest-certificate",
        "the prepared certificate of the lowest view wins",
        "pbft.tla GetDigest",
        (f"{_CHANGES}:required_block", "return max(prepared", "return min(prepared"),
    ),
    _mutant(
        "no-recompute",
        "a backup believes the NEW-VIEW's choice",
        "FISCO FIB-124, raijin #7",
        (
            f"{_CHANGES}:proposal_follows",
            "return required is None or required.block_hash == message.proposal.block.hash",
            "return True",
        ),
    ),
    _mutant(
        "primary-chooses-freely",
        "the primary of a new view proposes its own block",
        "FISCO FIB-124",
        (f"{_REPLICA}._try_open_view", "if required is None:", "if True:"),
        (
            f"{_REPLICA}._open_view",
            "if required is not None and required.block_hash != block.hash:",
            "if False:",
        ),
    ),
    _mutant(
        "view-steps-back",
        "a quorum for an old view moves a replica back",
        "raijin #18",
        (
            f"{_REPLICA}.is_ahead",
            "return view > self.view or (view == self.view and not self.entered)",
            "return view != self.view or not self.entered",
        ),
    ),
    _mutant(
        "joins-highest",
        "a replica joins the highest of the views that others want",
        "besu #1822",
        (f"{_CHANGES}:view_to_join", "return higher[0] if", "return higher[-1] if"),
    ),
    _mutant(
        "never-joins",
        "a replica never joins others in a higher view",
        "V1, celo #706",
        (
            f"{_CHANGES}:view_to_join",
            "return higher[0] if len(higher) >= witness else None",
            "return None",
        ),
    ),
    _mutant(
        "no-resend",
        "own messages are never repeated",
        "fabric #1927",
        (f"{_REPLICA}._on_resend", "if self._resent_at == (self.height, self.view):", "if False:"),
    ),
    _mutant(
        "no-new-view-timer",
        "nobody waits for a NEW-VIEW",
        "sawtooth #68",
        (f"{_REPLICA}._try_open_view", "self._pace.await_new_view()", "pass"),
    ),
    _mutant(
        "silent-primary-stays",
        "neither time nor overlooked work replaces a primary",
        "sawtooth #87, V5",
        (f"{_REPLICA}._on_timer", 'self._leave_view("no_progress")', "pass"),
        (f"{_REPLICA}._on_timer", 'self._leave_view("slow_primary")', "pass"),
        (f"{_REPLICA}.step", 'self._leave_view("transaction_overlooked")', "pass"),
    ),
    _mutant(
        "commit-never-leaves",
        "who sent a COMMIT never changes the view",
        "neo-modules #792",
        (
            f"{_REPLICA}._leave_view",
            "if self._index is None:",
            "if self._index is None or self._round.prepared is not None:",
        ),
        (
            f"{_REPLICA}._on_view_change",
            "if join is not None and self._index is not None:",
            "if join is not None and self._index is not None and self._round.prepared is None:",
        ),
    ),
    _mutant(
        "early-votes-dropped",
        "votes that come before the proposal are lost",
        "bft-smart 7326d316",
        (
            f"{_ROUND}.wants",
            "return message.view >= view and not self.prepares.has(message)",
            "return self.proposal is not None and not self.prepares.has(message)",
        ),
        (f"{_REPLICA}._on_resend", "if self._resent_at == (self.height, self.view):", "if False:"),
    ),
    _mutant(
        "bodies-forgotten",
        "a restarted replica forgets the bodies of what it prepared",
        "PROTOCOL, NEW-VIEW; 2.3",
        ("nodes.voting:recover", "bodies=tuple(bodies),", "bodies=(),"),
    ),
    # -- memory of votes
    _mutant(
        "amnesia",
        "votes are sent before they are recorded, and never are",
        "telcoin #934, sui #18009",
        (f"{_VOTER}.cast", "self._safety.append([record for _, record in unsettled])", "pass"),
    ),
    _mutant(
        "no-guard",
        "the safety store accepts a second digest",
        "telcoin #391, mainsail #1449",
        (
            f"{_LOG}.new_votes",
            'raise EquivocationRefused(*place, "another digest is recorded")',
            "pass",
        ),
        (f"{_VOTER}.cast", "self._safety.append([record for _, record in unsettled])", "pass"),
    ),
    _mutant(
        "unsynced-votes",
        "the safety file is not synced",
        "2.3, fsync table",
        ("nodes.storage.safety_store:FileSafetyStore._write", "os.fdatasync(self._file)", "pass"),
    ),
    _mutant(
        "forgets-prepared",
        "a restarted replica forgets what it prepared",
        "commonware #2797",
        ("nodes.voting:recover", "prepared=prepared,", "prepared=None,"),
    ),
    _mutant(
        "forgets-proposal",
        "a restarted primary proposes a second time in its view",
        "tendermint #3089",
        (
            f"{_REPLICA}.start",
            "self._round.proposing = bool(recovered.recast)",
            "self._round.proposing = False",
        ),
        ("nodes.voting:recover", "recast=tuple(recast) if entered else (),", "recast=(),"),
    ),
    _mutant(
        "forgets-view",
        "a restarted replica begins in the view of its last certificate",
        "besu #8307",
        (
            "nodes.voting:recover",
            "view = max(certified, View(0) if safety is None else safety.highest_view)",
            "view = certified",
        ),
    ),
    _mutant(
        "votes-without-memory",
        "a validator without its safety store votes",
        "A2",
        (
            "nodes.storage.safety_store:open_to_vote",
            "return None",
            "None if path.exists() else FileSafetyStore.create(path)\n"
            "        return FileSafetyStore(path)",
        ),
    ),
    # -- chain, catch-up, membership
    _mutant(
        "replay-unchecked",
        "a transaction may be executed twice",
        "R1, BNB replay",
        ("ledger.execution:check_transaction", "elif executed:", "elif False:"),
    ),
    _mutant(
        "expiry-unchecked",
        "an expired transaction may be executed",
        "fabric CVE-2024-45244",
        ("ledger.execution:check_transaction", "if body.valid_until < height:", "if False:"),
    ),
    _mutant(
        "catch-up-unverified",
        "blocks of a peer are taken without a certificate",
        "FISCO FIB-127",
        (
            "ledger.catchup:verify_next",
            "verify_certified_header(certified, membership, chain_id)",
            "pass",
        ),
    ),
    _mutant(
        "claims-believed",
        "a node waits for ever for the peer that claims most",
        "CVE-2025-24371",
        (
            "ledger.catchup:CatchUpPlan.next_request",
            "if now_ms < self._asked_until_ms:",
            "if True:",
        ),
    ),
    _mutant(
        "acknowledged-too-early",
        "clients are told before the block is stored",
        "telcoin #1040, SAFE-3",
        (
            "nodes.driver:Driver._apply",
            "ids = self.chain.apply(block, certificate)",
            "self._world.committed(block.header.height, [])\n"
            "    ids = self.chain.apply(block, certificate)",
        ),
    ),
    _mutant(
        "old-membership",
        "a change of votes is not followed",
        "FISCO #2191, M1",
        (
            "nodes.chain:Chain.voters",
            "return current_voters(State(self._store))",
            "return Voters(Height(1), self._genesis.membership, None)",
        ),
    ),
    _mutant(
        "views-survive-change",
        "view-changes of a former membership still count",
        "M1, B3",
        (f"{_REPLICA}._take_seat", "self._view_changes = ViewChanges()", "pass"),
        (
            "ledger.consensus.messages:view_change_hash",
            "Tag.VIEW_CHANGE, membership,",
            "Tag.VIEW_CHANGE, b'',",
        ),
    ),
    _mutant(
        "evidence-forgotten",
        "evidence of double votes is not kept",
        "commonware #2797, I15",
        ("nodes.evidence:EvidenceBook.saw", "self._store.keep_evidence(evidence)", "pass"),
    ),
    _mutant(
        "correct-accused",
        "a replica takes the same vote in two views for a double vote",
        "Ivy, I9",
        (
            f"{_VOTES}.add",
            "earlier = views.get(vote.view)",
            "earlier = next(iter(views.values()), None)",
        ),
    ),
)
