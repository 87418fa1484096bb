"""What is checked of whole nodes: their memory now and then, their chains at the end."""

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

from contracts.registry import Registry
from ledger.consensus.phases import BODIES_MAX
from ledger.consensus.replica import NEXT_HEIGHT_MESSAGES_MAX
from ledger.consensus.votes import VIEWS_PER_SIGNER
from ledger.crypto.keys import PublicKey
from ledger.limits import MEMPOOL_BYTES_MAX, MEMPOOL_TRANSACTIONS_MAX
from ledger.types.certificate import CertifiedHeader, commit_digest
from ledger.types.evidence import Evidence, evidence_key
from ledger.types.genesis import Genesis
from ledger.types.membership import Membership
from nodes.chain import RESULTS_MAX, Chain
from nodes.driver import Driver
from nodes.storage.ledger_store import LedgerStore
from tests.simulation.cluster import SimulatedClock, Trace
from tests.simulation.disk import Disk, DiskStorage
from tests.simulation.swarm import Swarm
from tests.simulation.violation import Violation
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner

Keys = Mapping[PublicKey, FixedSigner]
"""All consensus keys that there ever were."""


def check_memory(swarm: Swarm) -> None:
    """I11: whatever the others send, what a correct node keeps stays within its bounds."""
    for index in swarm.honest():
        driver = swarm.nodes[index].driver
        if driver is not None:
            for what, size, limit in _kept(driver, swarm.options.n):
                if size > limit:
                    raise Violation("I11", f"validator {index} keeps {size} {what}, not {limit}")


def _kept(driver: Driver, n: int) -> Iterator[tuple[str, int, int]]:
    replica, plan, mempool = driver.replica, driver._plan, driver.mempool
    this_height, waiting = replica._round, replica._next_height
    # After a view change: the newest, the prepared one, the proposal, one that was asked for.
    yield "bodies", len(this_height.bodies), BODIES_MAX + 3
    for name, book in (("prepares", this_height.prepares), ("commits", this_height.commits)):
        yield name, sum(map(len, book._by_signer.values())), n * VIEWS_PER_SIGNER
    yield "own messages", len(this_height.sent), 5
    yield "view-changes", len(replica._view_changes._by_signer), n
    yield "messages ahead", sum(map(len, waiting.values())), n * NEXT_HEIGHT_MESSAGES_MAX
    yield "claims", len(plan.claims), n - 1
    yield "open requests", len(plan._unanswered), n - 1
    yield "blamed peers", len(plan._blamed_until_ms), n - 1
    yield "results", len(driver.chain._results), RESULTS_MAX
    yield "transactions", len(mempool), MEMPOOL_TRANSACTIONS_MAX
    yield "bytes of transactions", mempool.size_bytes, MEMPOOL_BYTES_MAX


def audit(swarm: Swarm, core: list[int]) -> None:
    """At the end: chains verify from genesis, and nobody speaks ill of a correct validator."""
    stores = {i: store for i in swarm.honest() if (store := swarm.nodes[i].store) is not None}
    for index, store in stores.items():
        if swarm.storage(index).rotten or store.height == 0:
            continue
        newest = store.certified_header(store.height)
        check_certificate(swarm.genesis, newest, swarm.chain.voting[store.height], swarm.keys())
        if newest.header.hash != swarm.chain.blocks[store.height]:
            raise Violation("SAFE-1", f"validator {index} ends with another block {store.height}")
    # At most f began at a snapshot: another one of the core has all blocks.
    whole = next(index for index in core if stores[index].base == 0)
    replay(swarm.genesis, stores[whole], swarm.storage(whole), swarm.keys())
    _check_accusations(swarm, core)


def check_certificate(
    genesis: Genesis, certified: CertifiedHeader, voting: Membership, keys: Keys
) -> None:
    """I6, by counting here and by signing again: signatures are deterministic."""
    header, certificate = certified.header, certified.certificate
    n = len(voting.validators)
    quorum = (n + (n - 1) // 3) // 2 + 1
    digest = commit_digest(genesis.chain_id, header.height, certificate.view, header.hash)
    signers = [keys[voting.validators[i].public_key] for i in certificate.signers if i < n]
    expected = [signer.sign(digest) for signer in signers]
    if (
        (certificate.height, certificate.block_hash) != (header.height, header.hash)
        or len(set(certificate.signers)) < quorum
        or not set(certificate.signers) <= set(range(n))
        or list(certificate.signatures) != expected
    ):
        raise Violation("I6", f"the certificate of block {header.height} is not valid")


def replay(genesis: Genesis, store: LedgerStore, storage: DiskStorage, keys: Keys) -> None:
    """I14: an empty store that executes the chain from genesis comes to the same state (I7)."""
    scratch = DiskStorage(Disk(Random(0), Counter()))
    again = LedgerStore(scratch, Registry(), genesis)
    chain = Chain(genesis, fixed.hospital(0), Registry(), again, SimulatedClock(), Trace())
    parent = genesis.chain_id
    for height in range(1, store.height + 1):
        block, certified = store.block(height), store.certified_header(height)
        check_certificate(genesis, certified, chain.voters().membership, keys)
        if block is None or block.header != certified.header:
            raise Violation("I6", f"block {height} is not the one of its certificate")
        if height > 1 and block.header.parent != parent:
            raise Violation("I6", f"block {height} does not follow block {height - 1}")
        chain.apply(block, certified.certificate)
        parent = block.hash
    if (again.state_root, scratch.state_digest()) != (store.state_root, storage.state_digest()):
        raise Violation("I14", f"the chain up to {store.height} gives another state from genesis")


def _check_accusations(swarm: Swarm, core: list[int]) -> None:
    # Whoever renewed a key was faulty before.
    doubtful = swarm.options.byzantine | set(swarm.options.losers)
    faulty = {fixed.hospital(place) for place in doubtful}
    for index in swarm.honest():
        for event, fields in swarm.nodes[index].trace.events:
            if event == "equivocation" and fields["member"] not in faulty:
                what = f"validator {index} accuses {fields['member']}"
                raise Violation("I9", f"{what} of equivocation")
    for key, signer in swarm.keys().items():
        recorded = swarm.running_at(core[0])[0].chain.state_value(evidence_key(key.key_id))
        if recorded is None:
            continue
        swarm.faults["evidence on chain"] += 1
        Evidence.decode(recorded).verify(swarm.genesis.chain_id, key)
        if signer not in [fixed.validator_signer(place) for place in doubtful]:
            raise Violation("I9", "the chain holds evidence against a correct validator")
