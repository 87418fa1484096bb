/**
 * What a light client trusts, and how that grows: genesis, then certified headers.
 *
 * Only headers at which the membership changed are followed; every other header between them may
 * be skipped, because the membership that certifies the newest one is known (LIGHT-1).
 * @module
 */

import { equal } from "./bytes.js";
import { verifyCertifiedHeader } from "./certificate.js";
import * as codec from "./codec.js";
import {
  ConflictingHeader,
  HeaderFromTheFuture,
  HeaderGoesBack,
  MembershipUnknown,
  NotCanonical,
  StaleAnswer,
  WrongChain,
} from "./errors.js";
import { Genesis } from "./genesis.js";
import { HEADER_AHEAD_MAX_MS, MEMBERSHIP_BYTES_MAX, TRUSTED_CHAIN_BYTES_MAX } from "./limits.js";
import { Membership } from "./membership.js";
import { ZERO_HASH } from "./merkle.js";

/** @typedef {import("./bundles.js").MembershipChange} MembershipChange */
/** @typedef {import("./certificate.js").CertifiedHeader} CertifiedHeader */
/** @typedef {import("./certificate.js").Header} Header */

/** The newest header that a client verified, and the memberships around it. */
export class TrustedChain {
  /**
   * @param {Uint8Array} chainId
   * @param {bigint} height 0 means that only the genesis document is trusted
   * @param {Uint8Array} headerHash zero at height 0, which has no header
   * @param {bigint} timeMs
   * @param {Membership} voters votes on `height`
   * @param {Membership} membership votes on the next height
   */
  constructor(chainId, height, headerHash, timeMs, voters, membership) {
    this.chainId = chainId;
    this.height = height;
    this.headerHash = headerHash;
    this.timeMs = timeMs;
    this.voters = voters;
    this.membership = membership;
  }

  /** The bytes to keep, for example in IndexedDB; the Python client reads them too. */
  encode() {
    return codec.encode([
      "trusted-chain",
      this.chainId,
      this.height,
      this.headerHash,
      this.timeMs,
      this.voters.encode(),
      this.membership.encode(),
    ]);
  }

  /** From the client's own store. @param {Uint8Array} data */
  static decode(data) {
    const value = codec.decode(data, TRUSTED_CHAIN_BYTES_MAX, "trusted chain");
    const fields = codec.array(value, 7, "trusted chain");
    if (fields[0] !== "trusted-chain") {
      throw new NotCanonical("trusted chain", "another kind of file");
    }
    const [voters, membership] = fields
      .slice(5)
      .map((item) => Membership.decode(codec.binary(item, "membership", MEMBERSHIP_BYTES_MAX)));
    return new TrustedChain(
      codec.hash32(fields[1], "trusted chain id"),
      codec.uint(fields[2], "trusted height"),
      codec.hash32(fields[3], "trusted header hash"),
      codec.uint(fields[4], "trusted time"),
      voters,
      membership,
    );
  }
}

/**
 * Height 0 of the network of that document, which the caller got from someone it trusts. Throws
 * WrongChain where `expectedChainId` is given and differs.
 * @param {Uint8Array} genesisBytes
 * @param {Uint8Array | null} expectedChainId
 */
export function trustGenesis(genesisBytes, expectedChainId) {
  const { chainId, timeMs, membership } = Genesis.decode(genesisBytes);
  if (expectedChainId !== null && !equal(chainId, expectedChainId)) {
    throw new WrongChain("genesis document", chainId, expectedChainId);
  }
  return new TrustedChain(chainId, 0n, ZERO_HASH, timeMs, membership, membership);
}

/**
 * The header, if the chain that is trusted leads to it. Checks, cheap ones first:
 *
 * a) it is of this chain: WrongChain
 * b) it does not lie below the trusted height, nor above it with a time not later:
 *    HeaderGoesBack; at the trusted height it is the trusted header: ConflictingHeader
 * c) the membership that it names is the trusted one: MembershipUnknown
 * d) that membership certified it: what `verifyCertifiedHeader` throws
 * @param {TrustedChain} trusted
 * @param {CertifiedHeader} untrusted
 */
export async function verifyHeader(trusted, untrusted) {
  const { header } = untrusted;
  if (!equal(header.chainId, trusted.chainId)) {
    throw new WrongChain("header", header.chainId, trusted.chainId);
  }
  const rises = header.height > trusted.height && header.timeMs > trusted.timeMs;
  const same = header.height === trusted.height;
  if (!(rises || same)) throw new HeaderGoesBack(header.height, trusted.height);
  if (same && !equal(header.hash, trusted.headerHash)) {
    throw new ConflictingHeader(header.height, header.hash, trusted.headerHash);
  }
  const membership = same ? trusted.voters : trusted.membership;
  if (!equal(header.membership, membership.hash)) {
    throw new MembershipUnknown(header.height, trusted.height);
  }
  return verifyCertifiedHeader(untrusted, membership, trusted.chainId);
}

/**
 * The chain trusted up to the last of `changes`, which are given lowest height first. Throws what
 * `verifyHeader` throws, HeaderGoesBack where a change does not lie above what is trusted before it,
 * and MembershipUnknown where its membership is not the one that its header names.
 * @param {TrustedChain} trusted
 * @param {readonly MembershipChange[]} changes
 */
export async function follow(trusted, changes) {
  for (const change of changes) {
    const { height } = change.certified.header;
    if (height <= trusted.height) throw new HeaderGoesBack(height, trusted.height);
    const header = await verifyHeader(trusted, change.certified);
    if (!equal(header.nextMembership, change.membership.hash)) {
      throw new MembershipUnknown(height, trusted.height);
    }
    trusted = step(trusted, header, change.membership);
  }
  return trusted;
}

/**
 * The chain trusted up to `newest`, by way of the membership `changes` before it. Throws what
 * `follow` and `verifyHeader` throw, and MembershipUnknown where `newest` changes the membership
 * and is not the last of `changes`.
 * @param {TrustedChain} trusted
 * @param {readonly MembershipChange[]} changes
 * @param {CertifiedHeader} newest
 */
export async function advance(trusted, changes, newest) {
  const followed = await follow(trusted, changes);
  const header = await verifyHeader(followed, newest);
  if (header.height === followed.height) return followed;
  if (!equal(header.nextMembership, header.membership)) {
    throw new MembershipUnknown(header.height, followed.height);
  }
  return step(followed, header, followed.membership);
}

/**
 * The header's age in ms at `nowMs`, not below 0 (LIGHT-3). Throws StaleAnswer above `maxAgeMs`;
 * HeaderFromTheFuture where its time is more than `maxAheadMs` after `nowMs`.
 * @param {Header} header
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 * @param {bigint} maxAheadMs
 */
export function checkAge(header, nowMs, maxAgeMs, maxAheadMs = BigInt(HEADER_AHEAD_MAX_MS)) {
  const age = nowMs - header.timeMs;
  if (age > maxAgeMs) throw new StaleAnswer(header.height, age, maxAgeMs);
  if (-age > maxAheadMs) throw new HeaderFromTheFuture(header.height, -age, maxAheadMs);
  return age < 0n ? 0n : age;
}

/** @param {TrustedChain} trusted @param {Header} header @param {Membership} membership */
function step(trusted, header, membership) {
  return new TrustedChain(
    trusted.chainId,
    header.height,
    header.hash,
    header.timeMs,
    trusted.membership,
    membership,
  );
}
