"""Transactions: what a client asks for, signed. The received bytes are kept and never re-made."""

from dataclasses import dataclass

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged, signing_digest
from ledger.crypto.keys import PublicKey, Signer, Verified, verify_signature
from ledger.errors import NotCanonical
from ledger.limits import CODEC_ITEMS_MAX, PROTOCOL_VERSION, TRANSACTION_BYTES_MAX
from ledger.primitives import Hash32, Height, KeyId, Nonce, Signature

NAME_CHARACTERS_MAX = 40


@dataclass(frozen=True, slots=True)
class Transaction:
    """The unsigned body."""

    chain_id: Hash32
    """Hash of the genesis document: a transaction of another network is refused."""
    contract: str
    action: str
    args: tuple[Value, ...]
    """As the contract's action says."""
    signer: KeyId
    """Key that must be registered on chain when the transaction is executed."""
    nonce: Nonce
    valid_until: Height
    """Last height at which it may be executed."""

    def encode(self) -> bytes:
        """[version, chain id, contract, action, args, signer, nonce, valid until height]."""
        return codec.encode(
            [
                PROTOCOL_VERSION,
                self.chain_id,
                self.contract,
                self.action,
                self.args,
                self.signer,
                self.nonce,
                self.valid_until,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Transaction":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(
            codec.decode(data, TRANSACTION_BYTES_MAX, "transaction"), 8, "transaction"
        )
        if fields[0] != PROTOCOL_VERSION:
            raise NotCanonical("transaction", f"version {fields[0]!r} is not {PROTOCOL_VERSION}")
        return Transaction(
            Hash32(codec.binary(fields[1], "transaction chain id", 32)),
            codec.text(fields[2], "transaction contract", NAME_CHARACTERS_MAX),
            codec.text(fields[3], "transaction action", NAME_CHARACTERS_MAX),
            codec.array_up_to(fields[4], CODEC_ITEMS_MAX, "transaction args"),
            KeyId(codec.binary(fields[5], "transaction signer", 32)),
            Nonce(codec.binary(fields[6], "transaction nonce", 16)),
            Height(codec.uint(fields[7], "transaction valid until")),
        )


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction as it travels and is stored: exactly these bytes everywhere."""

    encoded: bytes
    """[body, signature]."""
    body: Transaction
    signature: Signature
    id: Hash32
    """H("transaction", body bytes): the signature cannot make a second id (B4)."""

    @staticmethod
    def decode(encoded: bytes) -> "SignedTransaction":
        """Raises NotCanonical, TooLarge or OutOfRange; the signature is not checked here."""
        fields = codec.array(
            codec.decode(encoded, TRANSACTION_BYTES_MAX, "signed transaction"),
            2,
            "signed transaction",
        )
        body = codec.binary(fields[0], "transaction body", TRANSACTION_BYTES_MAX)
        signature = Signature(codec.binary(fields[1], "transaction signature", Signature.SIZE))
        return SignedTransaction(
            encoded, Transaction.decode(body), signature, hash_tagged(Tag.TRANSACTION, body)
        )


def sign_transaction(body: Transaction, signer: Signer) -> SignedTransaction:
    """``body`` signed by the key that it names as its signer."""
    encoded_body = body.encode()
    transaction_id = hash_tagged(Tag.TRANSACTION, encoded_body)
    signature = signer.sign(signing_digest(Tag.SIGN_TRANSACTION, body.chain_id, transaction_id))
    return SignedTransaction(
        codec.encode([encoded_body, signature]), body, signature, transaction_id
    )


def verify_transaction(
    transaction: SignedTransaction, key: PublicKey
) -> Verified[SignedTransaction]:
    """Raises BadSignature. That ``key`` is registered and valid is execution's question.

    The key id is the hash of the key, so a verified signature stays verified whatever the
    state says: each node checks it once.
    """
    if key.key_id != transaction.body.signer:
        raise NotCanonical("transaction", "the key given is not the signer that it names")
    digest = signing_digest(Tag.SIGN_TRANSACTION, transaction.body.chain_id, transaction.id)
    verify_signature(key, transaction.signature, digest, "transaction")
    return Verified(transaction)
