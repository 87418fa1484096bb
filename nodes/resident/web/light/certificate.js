/**
 * Headers and quorum certificates: the one proof that a block is committed, and its one verifier.
 * @module
 */

import { equal, u64 } from "./bytes.js";
import * as codec from "./codec.js";
import {
  CertificateMismatch,
  InsufficientSignatures,
  NotCanonical,
} from "./errors.js";
import { hashTagged, signingPreimage } from "./hashing.js";
import { verifySignature } from "./keys.js";
import {
  BLOCK_TRANSACTIONS_MAX,
  CERTIFICATE_BYTES_MAX,
  CERTIFIED_HEADER_BYTES_MAX,
  EXECUTION_VERSION,
  HEADER_BYTES_MAX,
  PROTOCOL_VERSION,
  SIGNATURE_BYTES,
  VALIDATORS_MAX,
} from "./limits.js";

/** @typedef {import("./membership.js").Membership} Membership */

/**
 * @typedef {object} HeaderFields
 * @property {Uint8Array} chainId
 * @property {bigint} height
 * @property {bigint} timeMs greater than the parent's
 * @property {Uint8Array} parent hash of the header one below; zero for height 1
 * @property {string} proposer who made the block, not who proposed it again
 * @property {bigint} transactionCount
 * @property {Uint8Array} transactionRoot
 * @property {Uint8Array} receiptRoot
 * @property {Uint8Array} stateRoot state-tree root after this block
 * @property {Uint8Array} membership hash of the membership that votes on this height
 * @property {Uint8Array} nextMembership hash of the membership that votes on the next height
 */

/** What validators sign and light clients trust. */
export class Header {
  /** @type {Uint8Array | undefined} */
  #hash;

  /** @param {HeaderFields} fields */
  constructor(fields) {
    this.chainId = fields.chainId;
    this.height = fields.height;
    this.timeMs = fields.timeMs;
    this.parent = fields.parent;
    this.proposer = fields.proposer;
    this.transactionCount = fields.transactionCount;
    this.transactionRoot = fields.transactionRoot;
    this.receiptRoot = fields.receiptRoot;
    this.stateRoot = fields.stateRoot;
    this.membership = fields.membership;
    this.nextMembership = fields.nextMembership;
  }

  encode() {
    return codec.encode([
      BigInt(PROTOCOL_VERSION),
      BigInt(EXECUTION_VERSION),
      this.chainId,
      this.height,
      this.timeMs,
      this.parent,
      this.proposer,
      this.transactionCount,
      this.transactionRoot,
      this.receiptRoot,
      this.stateRoot,
      this.membership,
      this.nextMembership,
    ]);
  }

  /** @param {Uint8Array} data */
  static decode(data) {
    const fields = codec.array(codec.decode(data, HEADER_BYTES_MAX, "header"), 13, "header");
    if (fields[0] !== BigInt(PROTOCOL_VERSION) || fields[1] !== BigInt(EXECUTION_VERSION)) {
      throw new NotCanonical("header", `versions ${fields[0]}, ${fields[1]} are not known`);
    }
    const [chainId, parent, transactionRoot, receiptRoot, stateRoot] = [2, 5, 8, 9, 10].map((i) =>
      codec.hash32(fields[i], "header hash"),
    );
    return new Header({
      chainId,
      height: codec.uint(fields[3], "header height"),
      timeMs: codec.uint(fields[4], "header time"),
      parent,
      proposer: codec.memberId(fields[6], "header proposer"),
      transactionCount: codec.uint(
        fields[7],
        "header transaction count",
        BigInt(BLOCK_TRANSACTIONS_MAX),
      ),
      transactionRoot,
      receiptRoot,
      stateRoot,
      membership: codec.hash32(fields[11], "header membership"),
      nextMembership: codec.hash32(fields[12], "header next membership"),
    });
  }

  /** H("header", bytes): the block's identity. */
  get hash() {
    this.#hash ??= hashTagged("header", this.encode());
    return this.#hash;
  }
}

/** q or more COMMIT signatures over one block in one view. */
export class QuorumCertificate {
  /**
   * @param {bigint} height
   * @param {bigint} view
   * @param {Uint8Array} blockHash
   * @param {readonly number[]} signers indexes into the membership of that height, strictly rising
   * @param {readonly Uint8Array[]} signatures in the order of `signers`
   */
  constructor(height, view, blockHash, signers, signatures) {
    this.height = height;
    this.view = view;
    this.blockHash = blockHash;
    this.signers = signers;
    this.signatures = signatures;
  }

  encode() {
    const signers = this.signers.map(BigInt);
    return codec.encode([this.height, this.view, this.blockHash, signers, this.signatures]);
  }

  /** @param {Uint8Array} data */
  static decode(data) {
    const value = codec.decode(data, CERTIFICATE_BYTES_MAX, "certificate");
    const fields = codec.array(value, 5, "certificate");
    const signers = codec.arrayUpTo(fields[3], VALIDATORS_MAX, "certificate signers");
    const signatures = codec.arrayUpTo(fields[4], VALIDATORS_MAX, "certificate signatures");
    return new QuorumCertificate(
      codec.uint(fields[0], "certificate height"),
      codec.uint(fields[1], "certificate view"),
      codec.hash32(fields[2], "certificate block hash"),
      signers.map((item) => codec.small(item, "certificate signer", VALIDATORS_MAX)),
      signatures.map((item) =>
        codec.fixed(item, "certificate signature", SIGNATURE_BYTES, "Signature"),
      ),
    );
  }
}

/** What a COMMIT signs, before it is hashed. @param {Uint8Array} chainId @param {QuorumCertificate} certificate */
function commitPreimage(chainId, { height, view, blockHash }) {
  return signingPreimage("sign-commit", chainId, u64(height), u64(view), blockHash);
}

/**
 * Checks, cheap ones first; every signature must hold, none may be junk (B5):
 *
 * a) as many signatures as signers: NotCanonical
 * b) signers strictly rising and within the membership: NotCanonical
 * c) at least q signers: InsufficientSignatures
 * d) each signature over the commit domain: BadSignature
 * @param {QuorumCertificate} certificate
 * @param {Membership} membership
 * @param {Uint8Array} chainId
 */
export async function verifyQuorumCertificate(certificate, membership, chainId) {
  const { signers, signatures } = certificate;
  if (signers.length !== signatures.length) {
    throw new NotCanonical("certificate", "signers and signatures differ in number");
  }
  if (signers.slice(1).some((signer, i) => signers[i] >= signer)) {
    throw new NotCanonical("certificate", "signers are not strictly rising");
  }
  if (signers.some((signer) => signer >= membership.n)) {
    throw new NotCanonical("certificate", "a signer is not in the membership");
  }
  if (signers.length < membership.quorum) {
    throw new InsufficientSignatures(certificate.height, signers.length, membership.quorum);
  }
  const signed = commitPreimage(chainId, certificate);
  // All at once, because WebCrypto works beside this thread; the first that fails is named.
  const outcomes = await Promise.allSettled(
    signers.map((index, i) =>
      verifySignature(
        membership.validators[index].publicKey,
        signatures[i],
        signed,
        `certificate, signer ${index}`,
      ),
    ),
  );
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}

/** A header with the certificate that commits it: what every answer of a server rests on. */
export class CertifiedHeader {
  /** @param {Header} header @param {QuorumCertificate} certificate */
  constructor(header, certificate) {
    this.header = header;
    this.certificate = certificate;
  }

  /** @returns {codec.Value} */
  toValue() {
    return [this.header.encode(), this.certificate.encode()];
  }

  encode() {
    return codec.encode(this.toValue());
  }

  /** Nothing is verified here. @param {Uint8Array} data */
  static decode(data) {
    return CertifiedHeader.fromValue(
      codec.decode(data, CERTIFIED_HEADER_BYTES_MAX, "certified header"),
    );
  }

  /** Nothing is verified here. @param {codec.Value} value */
  static fromValue(value) {
    const [header, certificate] = codec.array(value, 2, "certified header");
    return new CertifiedHeader(
      Header.decode(codec.binary(header, "header", HEADER_BYTES_MAX)),
      QuorumCertificate.decode(codec.binary(certificate, "certificate", CERTIFICATE_BYTES_MAX)),
    );
  }
}

/**
 * The header, if it is of this chain, is voted on by `membership`, and is certified.
 * @param {CertifiedHeader} untrusted
 * @param {Membership} membership
 * @param {Uint8Array} chainId
 */
export async function verifyCertifiedHeader(untrusted, membership, chainId) {
  const { header, certificate } = untrusted;
  if (!equal(header.chainId, chainId)) {
    throw new CertificateMismatch("the header belongs to another chain");
  }
  if (!equal(header.membership, membership.hash)) {
    throw new CertificateMismatch("another membership votes on this height");
  }
  if (certificate.height !== header.height || !equal(certificate.blockHash, header.hash)) {
    throw new CertificateMismatch("it certifies another block");
  }
  await verifyQuorumCertificate(certificate, membership, chainId);
  return header;
}
