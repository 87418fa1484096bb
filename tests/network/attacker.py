"""A hostile member as a process of its own: floods all others with every class of frame.

    python -m tests.network.attacker DIRECTORY MEMBER SECONDS

It has the member's TLS key and consensus key, and sends as fast as the others read, one thread for
each. It prints how many frames it sent, and how often it was cut off.
"""

import secrets
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from ledger import codec
from ledger.catchup import BlockRequest, Status
from ledger.consensus.messages import (
    Commit,
    Message,
    Prepare,
    ViewChange,
    encode_message,
    view_change_digest,
    vote_digest,
)
from ledger.crypto.hashing import Tag
from ledger.limits import FRAME_BYTES_MAX
from ledger.primitives import Hash32, Height, Nonce, Signature, View
from ledger.types.certificate import QuorumCertificate, commit_digest
from ledger.types.transaction import Transaction
from nodes.config import NodeConfig, load_config, load_genesis, user_key_name
from nodes.frames import Channel, bytes_max, encode_transactions, frame
from nodes.signer.key_files import FileSigner
from nodes.transport.peer_links import Address
from nodes.transport.pki import client_context

BAD = Signature(b"\x01" + b"\x11" * 64)
NOBODY = Hash32(bytes(32))


class Attacker:
    """One member's keys, and what they are abused for."""

    def __init__(self, directory: Path, member: str) -> None:
        config = load_config(NodeConfig, directory / member / "node.toml")
        self.genesis = load_genesis(config.genesis)
        self.member = member
        self.index = self.genesis.membership.index_of(config.member)
        self.signer = FileSigner.load(config.consensus_key)
        self.user = FileSigner.load(directory / member / "keys" / user_key_name("gateway"))
        self.context = client_context(config.tls, self.genesis.members, check_hostname=False)
        self.height = 1
        """What the others decide now, as the newest request for votes was told."""
        self.sent: Counter[str] = Counter()

    # -- frames -------------------------------------------------------------------------------

    def votes(self) -> Iterator[bytes]:
        """Correctly signed, for every view of every height to come."""
        for view in count(1):
            height = Height(self.height + view % 3)
            block = Hash32(secrets.token_bytes(32))
            digest = commit_digest(self.genesis.chain_id, height, View(view), block)
            yield self._message(Commit(height, View(view), block, self.index, self._sign(digest)))
            digest = vote_digest(Tag.SIGN_PREPARE, self.genesis.chain_id, height, View(view), block)
            yield self._message(Prepare(height, View(view), block, self.index, self._sign(digest)))

    def view_changes(self) -> Iterator[bytes]:
        """Correctly signed; none has the certificate that it needs."""
        for view in count(1):
            bare = ViewChange(Height(2**40), View(view), None, None, self.index, BAD)
            members = self.genesis.membership.hash
            digest = view_change_digest(self.genesis.chain_id, members, bare)
            yield self._message(
                ViewChange(bare.height, bare.view, None, None, self.index, self._sign(digest))
            )

    def forged(self) -> Iterator[bytes]:
        """In the name of others."""
        for view in count(1):
            height, block = Height(self.height + view % 2), Hash32(secrets.token_bytes(32))
            yield self._message(Commit(height, View(view), block, view % 3, BAD))

    def hints(self) -> Iterator[bytes]:
        """Statuses, requests, certificates."""
        for height in count(2**50):
            yield frame(Channel.STATUS, Status(Height(height), View(0), False).encode())
            yield frame(Channel.BLOCK_REQUEST, BlockRequest(Height(1)).encode())
            yield frame(Channel.BODY_REQUEST, secrets.token_bytes(32))
            certificate = QuorumCertificate(
                Height(height), View(9), NOBODY, (0, 1, 2), (BAD, BAD, BAD)
            )
            yield frame(Channel.CERTIFICATE, certificate.encode())

    def bodies(self) -> Iterator[bytes]:
        """As large as may be, and nobody asked."""
        while True:
            for channel in (Channel.BLOCKS, Channel.BODY, Channel.CONSENSUS):
                yield bytes([channel]) + bytes(bytes_max(channel) - 1)

    def transactions(self) -> Iterator[bytes]:
        """Full frames of what a registered user did not sign."""
        row = (secrets.token_bytes(32), secrets.token_bytes(32), secrets.token_bytes(156))
        while True:
            made = []
            for _ in range(400):
                body = Transaction(
                    self.genesis.chain_id,
                    "index",
                    "register",
                    (1, (row,)),
                    self.user.public_key.key_id,
                    Nonce(secrets.token_bytes(16)),
                    Height(900),
                )
                made.append(codec.encode([body.encode(), BAD]))
            data = frame(Channel.TRANSACTIONS, encode_transactions(made))
            for _ in range(50):  # the same bytes again: none of them is ever known
                yield data

    def _message(self, message: Message) -> bytes:
        return frame(Channel.CONSENSUS, encode_message(message))

    def _sign(self, digest: Hash32) -> Signature:
        return self.signer.sign(digest)

    def flood(self) -> Iterator[tuple[str, bytes]]:
        """Some of each, for ever."""
        kinds: list[tuple[str, Iterator[bytes], int]] = [
            ("votes", self.votes(), 200),
            ("view-changes", self.view_changes(), 50),
            ("forged votes", self.forged(), 200),
            ("hints", self.hints(), 200),
            ("bodies", self.bodies(), 3),
            ("transactions", self.transactions(), 10),
        ]
        while True:
            for name, frames, number in kinds:
                for data in islice(frames, number):
                    yield name, data

    # -- connections --------------------------------------------------------------------------

    def run(self, target: str, until: float) -> None:
        """Sends to one validator, again and again connected, until the time is over."""
        endpoint = self.genesis.member(target).endpoints.peer
        address = Address.parse(endpoint)
        frames = self.flood()
        while time.monotonic() < until:
            try:
                with self._connected(address) as link:
                    self._send(link, frames, until)
                    # Ends in the middle of the largest frame, of which there never is more.
                    link.sendall(FRAME_BYTES_MAX.to_bytes(4, "big") + bytes([Channel.CONSENSUS]))
                    link.sendall(bytes(1_000))
            except OSError:
                self.sent["cut off"] += 1
                time.sleep(0.05)

    def _connected(self, address: Address) -> ssl.SSLSocket:
        raw = socket.create_connection((address.host, address.port), 10)
        return self.context.wrap_socket(raw)

    def _send(self, link: ssl.SSLSocket, frames: Iterator[tuple[str, bytes]], until: float) -> None:
        batch = bytearray()
        renewed = time.monotonic() + 5
        for name, data in frames:
            batch += len(data).to_bytes(4, "big") + data
            self.sent[name] += 1
            if len(batch) > 64 * 1024:
                link.sendall(batch)
                batch.clear()
                if time.monotonic() > min(until, renewed):
                    return


def main() -> None:
    """Command line; a line with a height on standard input says what is decided now."""
    directory, member, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    attacker = Attacker(directory, member)
    until = time.monotonic() + seconds
    others = [v.member for v in attacker.genesis.membership.validators if v.member != member]
    threads = [threading.Thread(target=attacker.run, args=(other, until)) for other in others]

    def listen() -> None:
        for line in sys.stdin:
            attacker.height = int(line) + 1

    threading.Thread(target=listen, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(dict(attacker.sent))


if __name__ == "__main__":
    main()
