/**
 * Checkpoints: a certified header that a hospital prints, to start from without the genesis.
 *
 * Whoever takes one trusts the hospital that printed it, as one trusts it for a genesis document.
 * @module
 */

import { equal } from "./bytes.js";
import { verifyCertifiedHeader } from "./certificate.js";
import * as codec from "./codec.js";
import { CheckpointMismatch, NotCanonical, WrongChain } from "./errors.js";
import { CHECKPOINT_BYTES_MAX } from "./limits.js";
import { TrustedChain } from "./trust.js";

/** @typedef {import("./certificate.js").CertifiedHeader} CertifiedHeader */
/** @typedef {import("./membership.js").Membership} Membership */

export const CHECKPOINT_PREFIX = "YILIAN-CHECKPOINT:";
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const WHAT = "checkpoint";

/** What the hospital prints. */
export class Checkpoint {
  /**
   * @param {Uint8Array} chainId
   * @param {bigint} height
   * @param {Uint8Array} headerHash
   * @param {Uint8Array} membershipHash votes on that height and on the next one
   */
  constructor(chainId, height, headerHash, membershipHash) {
    this.chainId = chainId;
    this.height = height;
    this.headerHash = headerHash;
    this.membershipHash = membershipHash;
  }

  /** The prefix, and base32 of ["checkpoint", chain id, height, header, members]. */
  get text() {
    const fields = [WHAT, this.chainId, this.height, this.headerHash, this.membershipHash];
    return CHECKPOINT_PREFIX + base32(codec.encode(fields));
  }

  /** What a QR code or a person says. @param {string} text */
  static fromText(text) {
    if (!text.startsWith(CHECKPOINT_PREFIX)) {
      throw new NotCanonical(WHAT, "it is another kind of text");
    }
    const data = fromBase32(text.slice(CHECKPOINT_PREFIX.length));
    const fields = codec.array(codec.decode(data, CHECKPOINT_BYTES_MAX, WHAT), 5, WHAT);
    if (fields[0] !== WHAT) throw new NotCanonical(WHAT, "it is another kind of text");
    return new Checkpoint(
      codec.hash32(fields[1], "checkpoint chain id"),
      codec.uint(fields[2], "checkpoint height"),
      codec.hash32(fields[3], "checkpoint header"),
      codec.hash32(fields[4], "checkpoint membership"),
    );
  }
}

/**
 * The chain trusted at the checkpoint, whose header and members any server may show.
 *
 * Checks: chain id (WrongChain); height, header and membership are those that were printed
 * (CheckpointMismatch); the certificate holds.
 * @param {Checkpoint} checkpoint
 * @param {CertifiedHeader} untrusted
 * @param {Membership} membership
 */
export async function trustCheckpoint(checkpoint, untrusted, membership) {
  const { header } = untrusted;
  const { chainId, height, headerHash, membershipHash } = checkpoint;
  if (!equal(header.chainId, chainId)) throw new WrongChain(WHAT, header.chainId, chainId);
  if (header.height !== height || !equal(header.hash, headerHash)) {
    throw new CheckpointMismatch(height, "another header was shown");
  }
  if (!equal(membership.hash, membershipHash)) {
    throw new CheckpointMismatch(height, "another membership was shown");
  }
  if (!equal(header.nextMembership, membershipHash)) {
    throw new CheckpointMismatch(height, "its header names another membership");
  }
  await verifyCertifiedHeader(untrusted, membership, chainId);
  return new TrustedChain(chainId, height, header.hash, header.timeMs, membership, membership);
}

/** RFC 4648, without padding. @param {Uint8Array} bytes */
function base32(bytes) {
  let [text, bits, held] = ["", 0, 0];
  for (const byte of bytes) {
    held = ((held & 31) << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += LETTERS[(held >> (bits - 5)) & 31];
  }
  return bits === 0 ? text : text + LETTERS[(held << (5 - bits)) & 31];
}

/** The bytes of which `letters` are the one encoding. @param {string} letters */
function fromBase32(letters) {
  const bytes = [];
  let [bits, held] = [0, 0];
  for (const letter of letters) {
    held = ((held & 127) << 5) | LETTERS.indexOf(letter);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((held >> bits) & 255);
    }
  }
  const data = Uint8Array.from(bytes);
  if (base32(data) !== letters) throw new NotCanonical(WHAT, "it is no base32");
  return data;
}
