"""The one state-transition function: which transactions a block may hold, and what they do.

Everything here is a function of its arguments (EXEC-1): the state after the parent, the
contracts, the block's height and time, and its transactions. Signatures were checked before,
once (``Verified``); all other rules hold at admission and again at execution (R1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TypeAlias, cast

from ledger import codec
from ledger.contract_api import (
    CallContext,
    Column,
    Contract,
    ContractTable,
    Refused,
    StateReader,
    StateView,
)
from ledger.crypto.keys import Verified
from ledger.errors import PeerFault, StateDamaged, TooLarge, WorldFault
from ledger.limits import BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, VALID_UNTIL_HEIGHTS_MAX
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Hash32, Height, MemberId, TimestampMs
from ledger.state import State, StateChanges, Write
from ledger.types.block import RECEIPT_BYTES_MAX, Block, Header, Receipt
from ledger.types.genesis import Genesis, UserKey
from ledger.types.membership import VOTERS_KEY, Membership, Voters
from ledger.types.transaction import SignedTransaction

CONTRACT_FAILED = "internal/contract-failed"
"""Receipt of an action that a bug in its contract ended; the same on every node (D5)."""
_BLOCK_FRAME_BYTES = 4_096
"""Left for the header and the outer arrays of a block."""
_ITEM_FRAME_BYTES = 5
"""At most so many bytes precede each transaction in a block's encoding."""

VerifiedTransaction: TypeAlias = Verified[SignedTransaction]


@dataclass(eq=False)
class TransactionRefused(PeerFault):
    """A transaction may not be executed at this height; sign a new one."""

    transaction_id: Hash32
    code: str
    template = "transaction {transaction_id}: refused: {code}"


@dataclass(eq=False)
class InvalidBlock(PeerFault):
    """A block is not what the protocol makes of its parent and its transactions."""

    height: int
    field: str
    """The header's field that is wrong, or ``transactions``."""
    reason: str
    template = "block {height}: {field}: {reason}"


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What a block does to the state after its parent."""

    receipts: tuple[Receipt, ...]
    encoded_receipts: tuple[bytes, ...]
    """The bytes of ``receipts``, over which the receipt root is made."""
    transaction_root: Hash32
    receipt_root: Hash32
    state_root: Hash32
    voters: Voters
    """Who votes on the next height."""
    writes: tuple[Write, ...]
    """All that must be stored with the block, in one batch (L3): state and executed ids."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next block goes, known before anything in it is read."""

    chain_id: Hash32
    height: Height
    parent: Hash32
    """Hash of the header one below; ZERO_HASH for height 1."""
    parent_time_ms: TimestampMs
    """Time of the header one below; the genesis time for height 1."""
    membership: Membership
    """Votes on this height."""


def genesis_changes(
    reader: StateReader, contracts: ContractTable, genesis: Genesis
) -> StateChanges:
    """The state at height 0, on an empty ``reader``."""
    state = State(reader)
    for key, value in contracts.genesis_values(genesis):
        state.put(key, value)
    return state.finish()


@lru_cache(maxsize=16)
def _decode_voters(data: bytes) -> Voters:
    return Voters.decode(data)


def current_voters(state: StateView) -> Voters:
    """Who votes on the height after the block that ``state`` is the state of."""
    data = state.get(VOTERS_KEY)
    if data is None:
        raise StateDamaged("state", "nobody votes: the voters are missing")
    return _decode_voters(data)


def check_transaction(
    state: StateView,
    contracts: ContractTable,
    chain_id: Hash32,
    height: Height,
    time_ms: TimestampMs,
    executed: bool,
    transaction: VerifiedTransaction,
) -> UserKey:
    """The signer's registration, if the transaction may be executed at ``height`` (R1, SAFE-2).

    Raises TransactionRefused with code ``transaction/...``, checked in this order, what needs no
    state first: ``wrong-chain``; ``expired`` and ``valid-until-too-far``; ``already-executed``;
    ``unknown-contract``; ``unknown-signer``; ``signer-expired`` at the block's time (K5).
    """
    body = transaction.value.body
    signer = None
    if body.chain_id != chain_id:
        code = "wrong-chain"
    elif body.valid_until < height:
        code = "expired"
    elif body.valid_until > height + VALID_UNTIL_HEIGHTS_MAX:
        code = "valid-until-too-far"
    elif executed:
        code = "already-executed"
    elif contracts.find(body.contract) is None:
        code = "unknown-contract"
    elif (signer := contracts.signer(state, body.signer)) is None:
        code = "unknown-signer"
    elif signer.valid_until_ms <= time_ms:
        code = "signer-expired"
    else:
        return signer
    raise TransactionRefused(transaction.value.id, f"transaction/{code}")


def execute(
    reader: StateReader,
    contracts: ContractTable,
    chain_id: Hash32,
    height: Height,
    time_ms: TimestampMs,
    transactions: Sequence[VerifiedTransaction],
) -> BlockResult:
    """Runs ``transactions`` in order on the state that ``reader`` gives; changes nothing.

    Raises InvalidBlock where one of them may not be in this block at all. An action that its
    contract refuses leaves a receipt and nothing else.
    """
    if len(transactions) > BLOCK_TRANSACTIONS_MAX:
        raise InvalidBlock(height, "transactions", f"{len(transactions)} are too many")
    state = State(reader)
    seen: set[Hash32] = set()
    receipts: list[Receipt] = []
    encoded_receipts: list[bytes] = []
    executed_writes: list[Write] = []
    for index, transaction in enumerate(transactions):
        signed = transaction.value
        executed = signed.id in seen or _is_executed(reader, signed.id)
        try:
            signer = check_transaction(
                state, contracts, chain_id, height, time_ms, executed, transaction
            )
        except TransactionRefused as refusal:
            raise InvalidBlock(height, "transactions", f"{index}: {refusal.code}") from refusal
        context = CallContext(chain_id, height, time_ms, signed.id, signed.body.signer, signer)
        receipt, encoded = _run(contracts, context, signed, state)
        seen.add(signed.id)
        receipts.append(receipt)
        encoded_receipts.append(encoded)
        executed_writes.append((Column.EXECUTED, signed.id, codec.encode([height, index])))
    changes = state.finish()
    return BlockResult(
        receipts=tuple(receipts),
        encoded_receipts=tuple(encoded_receipts),
        transaction_root=_root(transaction.value.encoded for transaction in transactions),
        receipt_root=_root(encoded_receipts),
        state_root=changes.root,
        voters=current_voters(state),
        writes=(*changes.writes, *executed_writes),
    )


def _run(
    contracts: ContractTable, context: CallContext, signed: SignedTransaction, state: State
) -> tuple[Receipt, bytes]:
    """Runs one action and keeps or undoes what it wrote; the receipt, and its bytes."""
    state.begin()
    try:
        receipt = _call(contracts, context, signed, state)
        encoded = receipt.encode()
        if len(encoded) > RECEIPT_BYTES_MAX:
            raise TooLarge("receipt", len(encoded), RECEIPT_BYTES_MAX)
    except (WorldFault, OSError, MemoryError):
        # This machine's trouble, not the transaction's: it must not become part of the chain.
        raise
    except Exception:  # noqa: BLE001  # a contract's bug is one receipt, equal on all nodes (D5)
        receipt = Receipt(signed.id, CONTRACT_FAILED, ())
        encoded = receipt.encode()
    if receipt.ok:
        state.commit()
    else:
        state.roll_back()
    return receipt, encoded


def _call(
    contracts: ContractTable, context: CallContext, signed: SignedTransaction, state: StateView
) -> Receipt:
    contract = cast(Contract, contracts.find(signed.body.contract))  # check_transaction found it
    try:
        returned = contract.call(signed.body.action, signed.body.args, context, state)
    except Refused as refusal:
        return Receipt(signed.id, refusal.code, refusal.fields)
    return Receipt(signed.id, "ok", returned)


def select(
    reader: StateReader,
    contracts: ContractTable,
    chain_id: Hash32,
    height: Height,
    time_ms: TimestampMs,
    candidates: Iterable[VerifiedTransaction],
) -> tuple[tuple[VerifiedTransaction, ...], tuple[TransactionRefused, ...]]:
    """What a primary puts into a block, and why it drops what may not be executed.

    Takes in order, and stops at the first that does not fit: what waits longest goes first.
    What is chosen passes ``execute``, because an action that ends a key ends it for later blocks.
    """
    state = State(reader)
    chosen: dict[Hash32, VerifiedTransaction] = {}
    dropped: list[TransactionRefused] = []
    space = BLOCK_BYTES_MAX - _BLOCK_FRAME_BYTES
    for transaction in candidates:
        signed = transaction.value
        size = len(signed.encoded) + _ITEM_FRAME_BYTES
        if size > space or len(chosen) == BLOCK_TRANSACTIONS_MAX:
            break
        executed = signed.id in chosen or _is_executed(reader, signed.id)
        try:
            check_transaction(state, contracts, chain_id, height, time_ms, executed, transaction)
        except TransactionRefused as refusal:
            dropped.append(refusal)
        else:
            chosen[signed.id] = transaction
            space -= size
    return tuple(chosen.values()), tuple(dropped)


def build_block(
    position: Position,
    time_ms: TimestampMs,
    proposer: MemberId,
    transactions: Sequence[VerifiedTransaction],
    result: BlockResult,
) -> Block:
    """The block that ``proposer`` makes of ``transactions`` and what executing them gave."""
    header = Header(
        chain_id=position.chain_id,
        height=position.height,
        time_ms=time_ms,
        parent=position.parent,
        proposer=proposer,
        transaction_count=len(transactions),
        transaction_root=result.transaction_root,
        receipt_root=result.receipt_root,
        state_root=result.state_root,
        membership=position.membership.hash,
        next_membership=result.voters.membership.hash,
    )
    return Block(header, tuple(transaction.value.encoded for transaction in transactions))


def verify_block(
    block: Block,
    position: Position,
    transactions: Sequence[VerifiedTransaction],
    reader: StateReader,
    contracts: ContractTable,
) -> BlockResult:
    """What executing ``block`` gives, if it is exactly what the protocol makes of its content.

    ``transactions`` are the block's own, verified. Raises InvalidBlock naming the field:

    a) chain, height, parent, membership are those of ``position``
    b) the time is later than the parent's (T1; the clock is the live voter's question)
    c) the proposer is a member that votes on this height
    d) the body is no larger than a block may be, and is ``transactions``
    e) every transaction may be executed, and all roots are the ones computed here (decision 2)
    """
    header = block.header
    _compare(
        header,
        {
            "chain_id": position.chain_id,
            "height": position.height,
            "parent": position.parent,
            "membership": position.membership.hash,
        },
    )
    if header.time_ms <= position.parent_time_ms:
        raise InvalidBlock(header.height, "time_ms", "not later than the parent's")
    if position.membership.index_of(header.proposer) is None:
        raise InvalidBlock(header.height, "proposer", "does not vote on this height")
    if len(block.encoded) > BLOCK_BYTES_MAX:
        raise InvalidBlock(header.height, "transactions", f"more than {BLOCK_BYTES_MAX} bytes")
    if block.transactions != tuple(transaction.value.encoded for transaction in transactions):
        raise InvalidBlock(header.height, "transactions", "others than those that were verified")
    result = execute(
        reader, contracts, position.chain_id, position.height, header.time_ms, transactions
    )
    expected = build_block(position, header.time_ms, header.proposer, transactions, result).header
    _compare(header, {item.name: getattr(expected, item.name) for item in fields(Header)})
    return result


def _compare(header: Header, expected: Mapping[str, object]) -> None:
    for name, value in expected.items():
        if getattr(header, name) != value:
            raise InvalidBlock(header.height, name, "differs from what this node computes")


def _is_executed(reader: StateReader, transaction_id: Hash32) -> bool:
    return reader.get(Column.EXECUTED, transaction_id) is not None


def _root(entries: Iterable[bytes]) -> Hash32:
    return root_of([leaf_hash(entry) for entry in entries])
