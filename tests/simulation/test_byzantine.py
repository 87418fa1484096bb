"""At most f validators lie in every way the checklist names: safety always, then progress."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from ledger import catchup
from ledger.catchup import CommittedBlock
from ledger.consensus.messages import NewView, Prepare, PrePrepare, ViewChange
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.types.block import Block
from nodes.frames import Channel, frame, split_frame
from tests.simulation import byzantine
from tests.simulation.byzantine import SignatureLog, consensus_message, framed
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.vectors import fixed

PATIENCE_MS = 100 * TIMEOUT_MS


def watched(cluster: Cluster) -> SignatureLog:
    """All frames are delivered, and their votes noted."""
    log = SignatureLog()

    def note(sender: int, receiver: int, data: bytes) -> int:
        log.saw(data)
        return cluster.random.randint(1, 5)

    cluster.judge = note
    return log


def proposal(n: int, patient: int = 1, ahead_ms: int = 0) -> Block:
    """What a correct validator 0 proposes at height 1, once there is a row of that patient."""
    cluster, found = Cluster(n), []
    cluster.clock.now_ms += ahead_ms
    cluster.start()

    def catch(sender: int, receiver: int, data: bytes) -> int | None:
        message = consensus_message(data)
        if isinstance(message, PrePrepare):
            found.append(message.block)
        return None if isinstance(message, PrePrepare) else 1

    cluster.judge = catch
    cluster.submit(0, cluster.registration(0, patient))
    cluster.run(500)
    return found[-1]


def goes_on(cluster: Cluster, honest: Iterable[int]) -> None:
    """Every honest validator commits a new transaction, and all agree."""
    sent = cluster.registration(honest[0], patient=9)
    cluster.submit(honest[0], sent)
    assert cluster.run(PATIENCE_MS, lambda: cluster.committed_everywhere([sent]))
    cluster.check_agreement()


@pytest.mark.parametrize("n", [4, 7])
def test_SAFE_1_an_equivocating_primary_with_helpers_commits_at_most_one_block(n):
    f = (n - 1) // 3
    liars, honest = range(f), range(f, n)
    blocks = [proposal(n, 1), proposal(n, 2)]
    assert blocks[0].hash != blocks[1].hash
    cluster = Cluster(n)
    log = watched(cluster)
    cluster.start(*honest)
    for receiver in honest:
        mine = blocks[receiver % 2]
        cluster.inject(0, receiver, framed(byzantine.pre_prepare(cluster, 0, mine)))
        for liar in liars:
            for block in blocks:
                if liar > 0:
                    cluster.inject(liar, receiver, framed(byzantine.prepare(cluster, liar, block)))
                cluster.inject(liar, receiver, framed(byzantine.commit(cluster, liar, block)))
    goes_on(cluster, honest)
    log.check(*liars)


@pytest.mark.parametrize("n", [4, 7])
def test_LIVE_1_f_silent_primaries_in_a_row_are_replaced(n):
    honest = range((n - 1) // 3, n)
    cluster = Cluster(n)
    log = watched(cluster)
    cluster.start(*honest)
    goes_on(cluster, honest)
    assert {driver.replica.view for driver in cluster.running()} == {honest[0]}
    log.check()


def doubled(block: Block) -> Block:
    """The same transaction twice, with the roots that belong to that."""
    twice = block.transactions * 2
    root = root_of([leaf_hash(item) for item in twice])
    header = replace(block.header, transaction_count=len(twice), transaction_root=root)
    return Block(header, twice)


def oversized(block: Block) -> Block:
    """More bytes than a block may have."""
    body = tuple(bytes([i]) * (TRANSACTION_BYTES_MAX - 1) for i in range(40))
    root = root_of([leaf_hash(item) for item in body])
    return Block(replace(block.header, transaction_count=40, transaction_root=root), body)


INVALID: dict[str, Callable[[int], Block]] = {
    "wrong state root": lambda n: byzantine.with_state_root(proposal(n), fixed.named_hash("x")),
    "6 s in the future (T1)": lambda n: proposal(n, ahead_ms=6_500),
    "wrong parent": lambda n: replace(
        proposal(n), header=replace(proposal(n).header, parent=fixed.named_hash("x"))
    ),
    "a doubled transaction": lambda n: doubled(proposal(n)),
    "oversized": lambda n: oversized(proposal(n)),
}


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("name", INVALID)
def test_SAFE_2_an_invalid_proposal_is_never_voted_for(name, n):
    bad = INVALID[name](n)
    honest = range(1, n)
    cluster = Cluster(n)
    log = watched(cluster)
    noted, votes = cluster.judge, []

    def watch(sender: int, receiver: int, data: bytes) -> int | None:
        message = consensus_message(data) if sender else None
        if getattr(message, "block_hash", None) == bad.hash:
            votes.append(message)
        return noted(sender, receiver, data) if sender else 1

    cluster.judge = watch
    cluster.start(*honest)
    for receiver in honest:
        cluster.inject(0, receiver, framed(byzantine.pre_prepare(cluster, 0, bad)))
    goes_on(cluster, honest)
    assert votes == []
    assert all(node.trace.count("view_change") for node in cluster.nodes[1:])
    log.check(0)


def test_V1_one_validator_with_huge_views_moves_nobody():
    cluster = Cluster(4)
    watched(cluster)
    cluster.start(1, 2, 3, 0)
    for view in (1, 5, 2**40, 2**63, 2**64 - 1):
        for receiver in range(3):
            cluster.inject(3, receiver, framed(byzantine.view_change(cluster, 3, view)))
    goes_on(cluster, range(3))
    assert all(node.driver.replica.view == 0 for node in cluster.nodes)


def test_I10_replaying_everything_that_was_ever_sent_changes_nothing():
    cluster = Cluster(4, seed=3)
    log, sent = watched(cluster), []
    noted = cluster.judge

    def record(sender: int, receiver: int, data: bytes) -> int | None:
        sent.append((sender, receiver, data))
        return noted(sender, receiver, data)

    cluster.judge = record
    cluster.start()
    goes_on(cluster, range(4))
    cluster.kill(0)
    goes_on(cluster, range(1, 4))
    cluster.start(0)
    goes_on(cluster, range(4))
    kinds = {type(consensus_message(data)) for _, _, data in sent}
    assert {PrePrepare, Prepare, ViewChange, NewView} <= kinds
    cluster.judge = noted
    before = [(node.driver.replica.view, node.store.height) for node in cluster.nodes]
    old = list(sent)
    cluster.random.shuffle(old)
    for sender, receiver, data in old:
        cluster.inject(sender, receiver, data)
        relay = (sender + 1) % 4
        if relay != receiver:
            cluster.inject(relay, receiver, data)
    cluster.run(400)
    assert [(node.driver.replica.view, node.store.height) for node in cluster.nodes] == before
    assert all(node.trace.count("equivocation") == 0 for node in cluster.nodes)
    goes_on(cluster, range(4))
    log.check()


@pytest.mark.parametrize("n", [4, 7])
def test_SAFE_1_a_forged_new_view_with_another_block_is_left_at_once(n):
    """The primary of view 1 has the view-changes with a prepared block, and proposes another."""
    other = proposal(n, 5)
    cluster = Cluster(n)
    honest = [i for i in range(n) if i != 1]
    changes: dict[int, ViewChange] = {}
    prepared = set()

    def judge(sender: int, receiver: int, data: bytes) -> int | None:
        message = consensus_message(data)
        if type(message).__name__ == "Commit" and message.view == 0:
            prepared.add(message.block_hash)
            return None
        if isinstance(message, ViewChange) and message.view == 1:
            changes[message.signer] = message
        return 2

    cluster.judge = judge
    cluster.start()
    cluster.submit(0, cluster.registration(0))
    quorum = cluster.genesis.membership.quorum
    assert cluster.run(PATIENCE_MS, lambda: prepared != set())
    cluster.kill(1)
    assert cluster.run(PATIENCE_MS, lambda: len(changes) >= quorum)
    chosen = [changes[signer] for signer in sorted(changes)][:quorum]
    forged = byzantine.new_view(cluster, 1, chosen, byzantine.pre_prepare(cluster, 1, other, 1))
    for receiver in honest:
        cluster.inject(1, receiver, framed(forged))
    goes_on(cluster, honest)
    assert {cluster.nodes[i].store.header(1).hash for i in honest} == prepared
    assert all(cluster.nodes[i].trace.count("new_view_refused") for i in honest)


def false_blocks(data: bytes) -> bytes:
    """Blocks of the same heights with another state root and the true certificates."""
    committed = catchup.decode_blocks(split_frame(data)[1])
    false = [
        CommittedBlock(byzantine.with_state_root(c.block, fixed.named_hash("x")), c.certificate)
        for c in committed
    ]
    return frame(Channel.BLOCKS, catchup.encode_blocks(false))


def test_a_peer_that_serves_false_blocks_is_blamed_and_asked_no_more_for_a_while():
    cluster = Cluster(4)
    asked: list[int] = []

    def judge(sender: int, receiver: int, data: bytes) -> int:
        if sender == 3 and data[0] == Channel.BLOCK_REQUEST:
            asked.append(receiver)
        return 2

    cluster.judge = judge
    cluster.start(0, 1, 2)
    for _ in range(5):
        goes_on(cluster, range(3))
    cluster.lies[0] = lambda receiver, data: (
        [false_blocks(data) if data[0] == Channel.BLOCKS else data]
    )
    cluster.start(3)
    top = max(cluster.heights())
    assert cluster.run(catchup.BLAME_MS // 2, lambda: cluster.nodes[3].store.height >= top)
    cluster.check_agreement()
    assert asked.count(0) <= 1
    assert cluster.nodes[3].driver.quotas.faults(fixed.hospital(0)) == asked.count(0)


def test_B7_a_relay_with_another_body_does_not_make_the_primary_look_guilty():
    cluster = Cluster(4)
    original = proposal(4)
    swapped = Block(original.header, (b"another body",))
    message = byzantine.pre_prepare(cluster, 0, original)
    cluster.start(1, 2, 3)
    cluster.judge = lambda sender, receiver, data: 1
    for receiver in (1, 2):
        cluster.inject(3, receiver, framed(replace(message, block=swapped)))
    cluster.run(50)
    assert all(cluster.nodes[i].driver.replica.view == 0 for i in (1, 2))
    assert all(cluster.nodes[i].trace.count("view_change") == 0 for i in (1, 2))
    assert cluster.nodes[1].driver.quotas.faults(fixed.hospital(3)) == 1
    for receiver in (1, 2, 3):
        cluster.inject(0, receiver, framed(message))
        cluster.inject(0, receiver, framed(byzantine.commit(cluster, 0, original)))
    assert cluster.run(500, lambda: min(cluster.heights()) == 1)
    assert {cluster.nodes[i].store.header(1).hash for i in (1, 2, 3)} == {original.hash}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n", [4, 7])
def test_SAFE_1_twins_with_one_key_under_changing_partitions(n, seed):
    cluster = Cluster(n, seed=seed, rotation=2)
    log = watched(cluster)
    noted = cluster.judge
    twins = range((n - 1) // 3)
    extra = [cluster.add_twin(index) for index in twins]
    groups: list[int] = []

    def split(sender: int, receiver: int, data: bytes) -> int | None:
        delay = noted(sender, receiver, data)
        return delay if groups[sender] == groups[receiver] else None

    cluster.judge = split
    groups[:] = [0] * len(cluster.nodes)
    cluster.start()
    for step in range(6):
        groups[:] = [cluster.random.randint(0, 1) for _ in cluster.nodes]
        cluster.submit(step % n, cluster.registration(step % n, 1 + step))
        cluster.submit(extra[0], cluster.registration(0, 20 + step))
        cluster.run(cluster.random.randint(300, 3_000))
        cluster.check_agreement()
    cluster.kill(*extra)
    groups[:] = [0] * len(cluster.nodes)
    goes_on(cluster, range(len(twins), n))
    log.check(*twins)
