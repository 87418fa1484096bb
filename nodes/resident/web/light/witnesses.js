/**
 * Two hospitals compared: a fork, a stale or a lying server is named, and a fork is kept.
 * @module
 */

import { changesFromValue } from "./bundles.js";
import { equal, toHex } from "./bytes.js";
import { CertifiedHeader } from "./certificate.js";
import * as codec from "./codec.js";
import { Forked, NoFork, NotCanonical, PeerFault, WitnessRefused, WrongChain } from "./errors.js";
import { FORK_BYTES_MAX } from "./limits.js";
import { advance, checkAge, follow, trustGenesis, verifyHeader } from "./trust.js";

/** @typedef {import("./bundles.js").MembershipChange} MembershipChange */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */

/** What one hospital's server says of a height. */
export class Testimony {
  /**
   * @param {string} hospital
   * @param {readonly MembershipChange[]} changes up to `certified`, from where trust begins
   * @param {CertifiedHeader} certified
   */
  constructor(hospital, changes, certified) {
    this.hospital = hospital;
    this.changes = changes;
    this.certified = certified;
  }

  /** @returns {codec.Value} */
  toValue() {
    const changes = this.changes.map((change) => change.toValue());
    return [this.hospital, changes, this.certified.toValue()];
  }

  /** @param {codec.Value} value */
  static fromValue(value) {
    const [hospital, changes, certified] = codec.array(value, 3, "testimony");
    return new Testimony(
      codec.memberId(hospital, "testimony hospital"),
      changesFromValue(changes),
      CertifiedHeader.fromValue(certified),
    );
  }
}

/** The chain trusted up to what a hospital shows; throws WitnessRefused. @param {TrustedChain} trusted @param {Testimony} testimony */
export async function hear(trusted, { hospital, changes, certified }) {
  return named(hospital, () => advance(trusted, changes, certified));
}

/**
 * The same of a newest header, which must not be older than the bound (LIGHT-3).
 * @param {TrustedChain} trusted
 * @param {Testimony} testimony
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function hearNewest(trusted, testimony, nowMs, maxAgeMs) {
  const heard = await hear(trusted, testimony);
  await named(testimony.hospital, async () =>
    checkAge(testimony.certified.header, nowMs, maxAgeMs),
  );
  return heard;
}

/**
 * What both hospitals say of one height, where they agree. Throws WitnessRefused for the one whose
 * testimony does not hold, `second` where it is about another height, and Forked where both hold
 * and contradict each other.
 * @param {TrustedChain} trusted
 * @param {Testimony} first
 * @param {Testimony} second
 */
export async function compareWitnesses(trusted, first, second) {
  const one = await hear(trusted, first);
  const other = await hear(trusted, second);
  if (one.height !== other.height) {
    const reason = `height ${other.height} was shown, ${one.height} was asked for`;
    throw new WitnessRefused(second.hospital, "OtherHeight", reason);
  }
  if (!equal(one.headerHash, other.headerHash)) {
    const { height, headerHash } = one;
    throw new Forked(height, first.hospital, headerHash, second.hospital, other.headerHash);
  }
  return one;
}

/** Evidence for a file, with all changes from genesis. @param {Uint8Array} chainId @param {Testimony} first @param {Testimony} second */
export function encodeFork(chainId, first, second) {
  return codec.encode(["fork", chainId, first.toValue(), second.toValue()]);
}

/**
 * What evidence of a fork proves.
 * @typedef {object} ForkReport
 * @property {bigint} height
 * @property {readonly Uint8Array[]} hashes of the two headers
 * @property {readonly string[]} hospitals who showed each of them
 * @property {readonly string[]} signedBoth validators whose key signed both; in one view, each of
 *   them is guilty
 * @property {boolean} sameView
 */

/**
 * What the evidence proves, from the genesis document alone (SAFE-1).
 * @param {Uint8Array} genesisBytes
 * @param {Uint8Array} data
 * @returns {Promise<ForkReport>}
 */
export async function verifyFork(genesisBytes, data) {
  const fields = codec.array(codec.decode(data, FORK_BYTES_MAX, "fork"), 4, "fork");
  if (fields[0] !== "fork") throw new NotCanonical("fork", "another kind of file");
  const chainId = codec.hash32(fields[1], "fork chain id");
  const trusted = trustGenesis(genesisBytes, null);
  if (!equal(chainId, trusted.chainId)) throw new WrongChain("fork", chainId, trusted.chainId);
  const [first, second] = [fields[2], fields[3]].map(Testimony.fromValue);
  const signersOfFirst = await signers(trusted, first);
  const signersOfSecond = await signers(trusted, second);
  const headers = [first.certified.header, second.certified.header];
  if (headers[0].height !== headers[1].height) throw new NoFork("the headers are of two heights");
  if (equal(headers[0].hash, headers[1].hash)) throw new NoFork("the headers are the same");
  const both = [...signersOfFirst].filter(([key, member]) => signersOfSecond.get(key) === member);
  return {
    height: headers[0].height,
    hashes: headers.map((header) => header.hash),
    hospitals: [first.hospital, second.hospital],
    signedBoth: both.map(([, member]) => member).sort(),
    sameView: first.certified.certificate.view === second.certified.certificate.view,
  };
}

/** Member of each signer of a verified testimony, by key. @param {TrustedChain} trusted @param {Testimony} testimony */
async function signers(trusted, { hospital, changes, certified }) {
  const voters = await named(hospital, async () => {
    const followed = await follow(trusted, changes);
    const { height } = await verifyHeader(followed, certified);
    return height === followed.height ? followed.voters : followed.membership;
  });
  const chosen = certified.certificate.signers.map((index) => voters.validators[index]);
  return new Map(chosen.map((each) => [toHex(each.publicKey.encoded), each.member]));
}

/** @template T @param {string} hospital @param {() => Promise<T>} work */
async function named(hospital, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PeerFault) throw new WitnessRefused(hospital, error.name, error.message);
    throw error;
  }
}
