/**
 * What else the ledger is compared with: a printed checkpoint, and a second hospital's server.
 *
 * Both begin at the genesis document, whose hash is the chain id of the hospital's code.
 * nodes/client/witnesses.py does the same in Python.
 * @module
 */

import { equal, toHex } from "../light/bytes.js";
import * as light from "../light/index.js";
import { Failure } from "./failures.js";
import { getBytes, getJson } from "./http.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("../light/genesis.js").Member} Member */

const CHANGES_PAGE = 256;

/**
 * A server's newest header, or that of a height, and the membership changes after another one up to
 * it. Nothing is verified here.
 * @param {string} origin empty: the gateway that served this page
 * @param {bigint} after
 * @param {bigint | null} [height]
 */
export async function testify(origin, after, height = null) {
  // The header first: changes after it do not matter, and are left out.
  const chain = `${origin}/v1/chain`;
  const header = await getBytes(`${chain}/headers/${height ?? "latest"}`);
  const certified = light.CertifiedHeader.decode(header);
  const changes = await changesAfter(chain, after);
  const known = changes.filter(
    (change) => change.certified.header.height <= certified.header.height,
  );
  return { changes: known, certified };
}

/** @param {string} chain @param {bigint} after */
async function changesAfter(chain, after) {
  /** @type {light.MembershipChange[]} */
  const found = [];
  for (let from = after; ; ) {
    const page = light.decodeChanges(await getBytes(`${chain}/memberships?from=${from}`));
    found.push(...page);
    const last = page.at(-1)?.certified.header.height;
    // A server that repeats itself must not keep the page busy.
    if (page.length < CHANGES_PAGE || last === undefined || last <= from) return found;
    from = last;
  }
}

/**
 * Compares the chain that this page follows with a printed checkpoint, and trusts from it on. In
 * this order: it is of this ledger; the server is not behind it; what the server shows of that
 * height is certified (else its error), and is what was printed.
 * @param {Session} session
 * @param {string} text
 */
export async function checkPrinted(session, text) {
  const printed = checkpointOf(text);
  if (!equal(printed.chainId, session.chainId)) throw new Failure("checkpoint-elsewhere");
  const { height } = printed;
  const newest = (await session.refresh()).height;
  if (height > newest) {
    throw new Failure("checkpoint-ahead", { height: String(height), newest: String(newest) });
  }
  const { changes, certified } = await testify("", 0n, height);
  const shown = await light.advance(session.fromGenesis(), changes, certified);
  if (!equal(shown.headerHash, printed.headerHash)) {
    const hashes = { shown: shortHash(shown.headerHash), printed: shortHash(printed.headerHash) };
    throw new Failure("checkpoint-forked", { height: String(height), ...hashes });
  }
  const trusted = await light.trustCheckpoint(printed, certified, shown.membership);
  return { printed: trusted, newest: await session.refresh(trusted) };
}

/** @param {string} text */
function checkpointOf(text) {
  try {
    return light.Checkpoint.fromText(text.trim().toUpperCase());
  } catch {
    throw new Failure("checkpoint-damaged");
  }
}

/** Hospitals whose servers this page can ask: not its own. @param {Session} session */
export function otherHospitals(session) {
  return session.hospitals().filter((member) => {
    const origin = originOf(member);
    return origin !== null && origin !== location.origin;
  });
}

/** Where a member's gateway is, as the genesis document says. @param {Member} member */
function originOf({ endpoints: { gateway } }) {
  const url = URL.canParse(gateway) ? new URL(gateway) : null;
  return url !== null && ["http:", "https:"].includes(url.protocol) ? url.origin : null;
}

/** Two certified blocks of one height, with the evidence that convicts. */
export class ForkFound extends Failure {
  /** @param {light.Forked} error @param {Uint8Array} evidence */
  constructor(error, evidence) {
    const { height, first, second } = error.fields;
    super("Forked", { height: String(height), first: String(first), second: String(second) });
    this.evidence = evidence;
  }
}

/**
 * Compares what this page's gateway and another hospital's say of the lower of their newest heights.
 * Throws WitnessRefused for the one whose answer does not hold or is too old, and ForkFound.
 * @param {Session} session
 * @param {Member} other
 */
export async function compareWith(session, other) {
  await session.refresh(); // what this device knew before counts first
  const own = await ownName(session);
  /** @param {bigint | null} height */
  const ask = async (/** @type {boolean} */ here, height) =>
    here ? testimony(own, "", height) : testimony(other.id, originOf(other) ?? "", height);
  const start = session.fromGenesis();
  const heard = [];
  for (const here of [true, false]) {
    const told = await ask(here, null);
    const newest = await light.hearNewest(start, told, session.now(), session.maxAgeMs);
    heard.push({ here, told, newest });
  }
  const [lower, higher] = [...heard].sort((a, b) => Number(a.newest.height - b.newest.height));
  const again = await ask(higher.here, lower.newest.height);
  try {
    const agreed = await light.compareWitnesses(start, lower.told, again);
    return { agreed, heard: heard.map(({ told, newest }) => ({ hospital: told.hospital, newest })) };
  } catch (error) {
    if (!(error instanceof light.Forked)) throw error;
    const evidence = light.encodeFork(session.chainId, lower.told, again);
    await light.verifyFork(session.genesisBytes, evidence);
    throw new ForkFound(error, evidence);
  }
}

/** @param {string} hospital @param {string} origin @param {bigint | null} height */
async function testimony(hospital, origin, height) {
  try {
    const { changes, certified } = await testify(origin, 0n, height);
    return new light.Testimony(hospital, changes, certified);
  } catch (error) {
    if (error instanceof light.PeerFault) {
      throw new light.WitnessRefused(hospital, error.name, error.message);
    }
    if (origin === "" || !(error instanceof Failure)) throw error;
    throw new Failure("witness-silent", { hospital });
  }
}

/** Whose gateway served this page: its own word, which is no more than a name. @param {Session} session */
async function ownName(session) {
  const { member } = await getJson("/v1/chain/status");
  if (typeof member !== "string" || !session.genesis.member(member)) throw new Failure("unreadable");
  return member;
}

/** Enough of a hash to compare by eye. @param {Uint8Array} hash */
export function shortHash(hash) {
  return toHex(hash).slice(0, 16);
}
