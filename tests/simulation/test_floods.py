"""One member floods the others with every class of frame: they stay live, and honest peers pass.

Simulated time knows no CPU, so what a flood costs is judged by what was looked at.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from ledger import catchup, codec
from ledger.catchup import BlockRequest, CommittedBlock, Status
from ledger.consensus.messages import Message, Verifier, encode_message
from ledger.crypto.keys import Verified
from ledger.primitives import Height, Signature, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate
from nodes.frames import Channel, encode_transactions, frame
from nodes.quotas import SHARES
from tests.simulation import byzantine
from tests.simulation.byzantine import consensus_message, framed
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.simulation.fast_signatures import fast_signatures
from tests.vectors import fixed

PATIENCE_MS = 100 * TIMEOUT_MS
SLICE_MS, FRAMES_PER_SLICE, SLICES = 5, 20, 400
"""4,000 frames a second, as many as a link reads, for 2 s."""
ATTACKER = 3
HONEST = range(3)
BAD = Signature(b"\x01" + b"\x11" * 64)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Whose messages had their signatures checked, by all validators together."""
    signers: Counter[int] = Counter()
    real = Verifier.verify

    def verify(self: Verifier, message: Message) -> Verified[Message]:
        signers[message.signer] += 1
        return real(self, message)

    monkeypatch.setattr(Verifier, "verify", verify)
    return signers


def at(cluster: Cluster, height: int) -> Block:
    """A block of that height which nobody proposed."""
    block = cluster.nodes[0].store.block(1)
    return Block(replace(block.header, height=Height(height)), block.transactions)


def top(cluster: Cluster) -> int:
    return max(node.store.height for node in cluster.nodes if node.driver is not None)


def rising_votes(cluster: Cluster) -> Iterator[bytes]:
    """Correctly signed, of ever higher views of the height that is decided, so never known."""
    for view in count(1):
        block = at(cluster, top(cluster) + 1)
        yield framed(byzantine.commit(cluster, ATTACKER, block, view))


def two_votes(cluster: Cluster) -> Iterator[bytes]:
    """Correctly signed votes for ever other blocks in one view: equivocation, again and again."""
    for number in count():
        block = byzantine.with_state_root(
            at(cluster, top(cluster) + 1), fixed.named_hash(f"block {number}")
        )
        yield framed(byzantine.commit(cluster, ATTACKER, block))


def bad_votes(cluster: Cluster) -> Iterator[bytes]:
    """In the name of a correct validator, and not signed by it."""
    for view in count(1):
        block = at(cluster, top(cluster) + 1)
        vote = byzantine.commit(cluster, ATTACKER, block, view)
        yield framed(replace(vote, signer=1, signature=BAD))


def rising_view_changes(cluster: Cluster) -> Iterator[bytes]:
    """Of a height that has passed, or is not: refused with or without its signature."""
    for view in count(1):
        yield framed(byzantine.view_change(cluster, ATTACKER, view))


def statuses(cluster: Cluster) -> Iterator[bytes]:
    """Of great heights and low views, so that all are to be answered."""
    for height in count(2**60):
        yield frame(Channel.STATUS, Status(Height(height), View(0), False).encode())


def certificates(cluster: Cluster) -> Iterator[bytes]:
    """Of heights to come, with signatures of nothing."""
    for height in count(2**40):
        forged = QuorumCertificate(
            Height(height), View(9), fixed.named_hash("x"), (0, 1, 2), (BAD, BAD, BAD)
        )
        yield frame(Channel.CERTIFICATE, forged.encode())


def block_requests(cluster: Cluster) -> Iterator[bytes]:
    """For all that there is."""
    while True:
        yield frame(Channel.BLOCK_REQUEST, BlockRequest(Height(1)).encode())


def blocks(cluster: Cluster) -> Iterator[bytes]:
    """That nobody asked for."""
    certificate = cluster.nodes[0].store.certificate(1)
    answer = catchup.encode_blocks([CommittedBlock(at(cluster, 1), certificate)] * 3)
    while True:
        yield frame(Channel.BLOCKS, answer)


def body_requests(cluster: Cluster) -> Iterator[bytes]:
    while True:
        yield frame(Channel.BODY_REQUEST, fixed.named_hash("x"))


def bodies(cluster: Cluster) -> Iterator[bytes]:
    """That nobody asked for."""
    while True:
        yield frame(Channel.BODY, at(cluster, 1).encoded)


def bad_transactions(cluster: Cluster) -> Iterator[bytes]:
    """Of a registered user, who did not sign them."""
    while True:
        forged = [codec.encode([cluster.registration(0).body.encode(), BAD]) for _ in range(3)]
        yield frame(Channel.TRANSACTIONS, encode_transactions(forged))


def junk(cluster: Cluster) -> Iterator[bytes]:
    """Of every channel and of none."""
    for number in count():
        yield bytes([number % 12]) + bytes(range(number % 60))


def mixed(cluster: Cluster) -> Iterator[bytes]:
    for frames in zip(*(flood(cluster) for flood in FLOODS.values()), strict=True):
        yield from frames


Flood = Callable[[Cluster], Iterator[bytes]]
FLOODS: dict[str, Flood] = {
    flood.__name__: flood
    for flood in (
        rising_votes,
        two_votes,
        bad_votes,
        rising_view_changes,
        statuses,
        certificates,
        block_requests,
        blocks,
        body_requests,
        bodies,
        bad_transactions,
        junk,
    )
}


def begun(n: int = 4) -> Cluster:
    """A cluster of honest validators at some height; the others' processes do not run."""
    cluster = Cluster(n)
    cluster.start(*HONEST)
    for _ in range(3):
        sent = cluster.registration(0)
        cluster.submit(0, sent)
        assert cluster.run(PATIENCE_MS, lambda sent=sent: cluster.committed_everywhere([sent]))
    return cluster


def flood_while_clients_write(cluster: Cluster, flood: Flood) -> Counter[Channel]:
    """Every honest validator's clients write all the while; frames that honest ones sent."""
    frames, sent, posted = flood(cluster), [], Counter()
    for step in range(SLICES):
        for _, data in zip(range(FRAMES_PER_SLICE), frames, strict=False):
            for receiver in HONEST:
                cluster.inject(ATTACKER, receiver, data)
                posted[receiver] += 1
        if step % 20 == 0:
            sent.append(cluster.registration(step % 3))
            cluster.submit(step % 3, sent[-1])
        cluster.run(SLICE_MS)
    assert cluster.run(PATIENCE_MS, lambda: cluster.committed_everywhere(sent))
    cluster.check_agreement()
    return posted


@pytest.mark.parametrize("name", [*FLOODS, "mixed"])
def test_LIVE_1_R3_a_flood_of_one_member_stops_nobody_and_costs_no_view(
    name: str, verified: Counter[int]
) -> None:
    cluster = begun()
    flood_while_clients_write(cluster, FLOODS.get(name, mixed))
    attacker = fixed.hospital(ATTACKER)
    # Each of the three: 1,250 votes a second and the burst.
    assert verified[ATTACKER] < 3 * (2 * 1_250 + 3_000)
    for index in HONEST:
        node = cluster.nodes[index]
        assert node.driver.replica.view == 0
        assert node.driver.quotas.dropped(attacker) or name in ("rising_view_changes", "junk")
        for other in HONEST:
            if other != index:
                assert node.driver.quotas.dropped(fixed.hospital(other)) == {}
                assert node.driver.quotas.faults(fixed.hospital(other)) == 0
        assert node.trace.count("frames_dropped") <= 4
        assert node.trace.count("peer_fault") <= 4


def test_R4_junk_that_is_not_signed_is_soon_not_verified_any_more(
    verified: Counter[int],
) -> None:
    cluster = begun()
    driver = cluster.nodes[2].driver
    before = verified[1]
    flood_while_clients_write(cluster, bad_votes)
    attacker = fixed.hospital(ATTACKER)
    assert 10 < driver.quotas.faults(attacker) < 100
    # In the name of validator 1, whose own votes are among these.
    assert verified[1] - before < 3 * 100 + 3 * 2 * top(cluster)
    assert driver.quotas.dropped(attacker)["consensus"] > 0.9 * SLICES * FRAMES_PER_SLICE
    # It ends: a little later the quorum rests on that member's correct votes.
    cluster.run(5_000)
    cluster.start(ATTACKER)
    cluster.kill(1)
    kept = cluster.registration(0)
    cluster.submit(0, kept)
    assert cluster.run(PATIENCE_MS, lambda: cluster.committed_everywhere([kept]))
    assert verified[ATTACKER] > 0


def test_2_2_what_a_flooding_peer_relays_is_never_held_against_its_signer() -> None:
    """Correct votes of validator 1 come only through the attacker, amid forged ones of its."""
    cluster = Cluster(4)
    relayed: list[tuple[int, bytes]] = []

    def judge(sender: int, receiver: int, data: bytes) -> int | None:
        if sender == 1 and consensus_message(data) is not None:
            relayed.append((receiver, data))
            return None
        return 2

    cluster.judge = judge
    cluster.start(*HONEST)
    sent = cluster.registration(0)
    cluster.submit(0, sent)
    for _ in range(2_000):
        for receiver, data in relayed:
            if receiver != ATTACKER:
                cluster.inject(ATTACKER, receiver, data)
                message = consensus_message(data)
                if hasattr(message, "block_hash"):
                    forged = replace(message, view=View(message.view + 1), signature=BAD)
                    cluster.inject(ATTACKER, receiver, framed(forged))
        relayed.clear()
        if cluster.run(SLICE_MS, lambda: cluster.committed_everywhere([sent])):
            break
    assert cluster.committed_everywhere([sent])
    cluster.check_agreement()
    signer, attacker = fixed.hospital(1), fixed.hospital(ATTACKER)
    for index in (0, 2):
        node = cluster.nodes[index]
        assert node.driver.quotas.faults(attacker) > 0
        assert node.driver.quotas.faults(signer) == 0
        assert node.driver.quotas.dropped(signer) == {}
        assert node.trace.count("equivocation") == 0


def honest_are_not_throttled(cluster: Cluster, peers: range) -> None:
    for driver in cluster.running():
        for peer in peers:
            assert driver.quotas.dropped(fixed.hospital(peer)) == {}


@pytest.mark.parametrize("n", [4, 10])
def test_V1_a_storm_of_view_changes_throttles_no_honest_peer(n: int) -> None:
    """Proposals are lost for long, so that every view fails; then the network heals."""
    cluster = Cluster(n)
    storm = True

    def judge(sender: int, receiver: int, data: bytes) -> int | None:
        kind = type(consensus_message(data)).__name__
        lost = storm and kind in ("PrePrepare", "Commit")
        return None if lost else cluster.random.randint(1, 30)

    cluster.judge = judge
    with fast_signatures():
        cluster.start()
        sent = [cluster.registration(index) for index in range(n)]
        for index, transaction in enumerate(sent):
            cluster.submit(index, transaction)
        cluster.run(60 * TIMEOUT_MS)
        assert min(driver.view_changes for driver in cluster.running()) >= 4
        storm = False
        assert cluster.run(10 * PATIENCE_MS, lambda: cluster.committed_everywhere(sent))
        cluster.check_agreement()
    honest_are_not_throttled(cluster, range(n))


def test_R3_catching_up_with_2000_blocks_is_not_throttled_while_another_member_floods() -> None:
    blocks_made = 2_000
    with fast_signatures():
        cluster = Cluster(4)
        cluster.judge = lambda sender, receiver, data: 1
        cluster.start(0, 1, 2)
        while top(cluster) < blocks_made:
            cluster.valid_until = Height(top(cluster) + 500)
            sent = cluster.registration(0, patient=top(cluster))
            cluster.submit(0, sent)
            assert cluster.run(1_000, lambda sent=sent: cluster.committed_everywhere([sent]))
        cluster.kill(2)
        cluster.start(3)
        frames = mixed_of(2, cluster)
        for _ in range(20_000):
            for _, data in zip(range(5), frames, strict=False):
                for receiver in (0, 1, 3):
                    cluster.inject(2, receiver, data)
            if cluster.run(SLICE_MS, lambda: cluster.nodes[3].store.height >= blocks_made):
                break
        assert cluster.nodes[3].store.height >= blocks_made
        cluster.check_agreement()
    for index in (0, 1):
        assert cluster.nodes[index].driver.quotas.dropped(fixed.hospital(3)) == {}
    for peer in (0, 1):
        assert cluster.nodes[3].driver.quotas.dropped(fixed.hospital(peer)) == {}


def mixed_of(sender: int, cluster: Cluster) -> Iterator[bytes]:
    """Requests, answers and statuses of any height."""
    chosen = (statuses, block_requests, blocks, certificates)
    for frames in zip(*(flood(cluster) for flood in chosen), strict=True):
        yield from frames


def test_R3_every_channel_has_a_share() -> None:
    assert set(SHARES) == set(Channel)
    assert encode_message(byzantine.view_change(Cluster(4), 0, 1))
