/**
 * The calls of the light client that vectors name, on bytes alone: what JavaScript says of each.
 * tests/light/calls.py has the same calls over the client in Python, and says what they return.
 * @module
 */

import * as light from "/light/index.js";
import * as codec from "/light/codec.js";
import { Header, QuorumCertificate, CertifiedHeader } from "/light/certificate.js";
import { utf8 } from "/light/bytes.js";
import { verifyDisclosure } from "/light/disclosure.js";
import { verifySignature } from "/light/keys.js";
import { Membership } from "/light/membership.js";
import { StateProof, verifyState } from "/light/merkle.js";
import { byPath, kindOf, split } from "/light/view_rules.js";

/** @typedef {any} Argument */

const { PublicKey, TrustedChain } = light;

/** @param {Uint8Array} data */
const trusted = (data) => TrustedChain.decode(data);

/** @param {import("/light/records.js").PatientList} list */
const rowsOf = ({ rows }) =>
  rows.map(({ index, status, row }) => [
    index, row.hash, status, row.member, row.root, row.epoch,
  ]);

/** @param {readonly import("/light/entries.js").Disclosed[]} accesses */
const accessesOf = (accesses) =>
  accesses.map((each) => [
    each.permission, each.reader, each.readerMember, each.holder, each.view, each.purpose,
    each.rows, each.height, each.timeMs,
  ]);

/** @param {import("/light/records.js").VerifiedRecord} record */
const recordOf = ({ fields, hidden, hidingRules, view, version }) => [
  fields.map(({ path, value }) => [path, value]), hidden, hidingRules, view, version,
];

/** @param {Uint8Array[]} files */
const rulesOf = (files) => files.map((file) => light.ViewRules.decode(file));

/** @param {Uint8Array} bytes */
const textOf = (bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

/** @param {[string, unknown][]} pairs */
const sorted = (pairs) => pairs.sort(([a], [b]) => (a < b ? -1 : 1));
/** @param {Uint8Array[]} parts hospital, changes, header */
const testimony = ([hospital, changes, header]) =>
  new light.Testimony(
    codec.memberId(textOf(hospital), "hospital"),
    light.decodeChanges(changes),
    CertifiedHeader.decode(header),
  );

/** @param {import("/light/entries.js").Permission} p */
const permissionOf = (p) =>
  [p.reader, p.readerMember, p.patient, p.holder, p.view, p.purpose, p.expires];

/** @type {Record<string, (...args: Argument[]) => unknown>} */
const CALLS = {
  value: (data, limit) => codec.encode(codec.decode(data, Number(limit), "value")),
  many: (head, unit, count, limit) => {
    const data = new Uint8Array(head.length + unit.length * Number(count));
    data.set(head);
    for (let at = head.length; at < data.length; at += unit.length) data.set(unit, at);
    return codec.encode(codec.decode(data, Number(limit), "value")).length;
  },
  "encoded text": (data) => {
    let text = "";
    for (let at = 0; at + 1 < data.length; at += 2) {
      text += String.fromCharCode((data[at] << 8) | data[at + 1]);
    }
    return codec.encode(text);
  },
  "encoded number": (number) => codec.encode(number),
  "encoded nesting": (depth) => {
    /** @type {codec.Value} */
    let nested = [];
    for (let left = Number(depth) - 1; left > 0; left--) nested = [nested];
    return codec.encode(nested);
  },
  "encoded items": (count) => codec.encode(new Array(Number(count)).fill(0n)).length,
  genesis: (data) => {
    const { chainId, membership } = light.Genesis.decode(data);
    return [chainId, membership.hash, membership.quorum];
  },
  "genesis member": (data, name) => {
    const found = light.Genesis.decode(data).member(textOf(name));
    return found && [found.id, found.name, found.kind];
  },
  "header bytes": (data) => {
    const header = Header.decode(data);
    return [header.encode(), header.hash];
  },
  "certificate bytes": (data) => QuorumCertificate.decode(data).encode(),
  "membership bytes": (data) => {
    const membership = Membership.decode(data);
    return [membership.encode(), membership.hash];
  },
  "state proof bytes": (data) => codec.encode(StateProof.decode(data).toValue()),
  "bundle bytes": (data) => light.decodeBundle(data).encode(),
  "changes bytes": (data) => light.encodeChanges(light.decodeChanges(data)),
  "trusted bytes": (data) => trusted(data).encode(),
  "disclosure bytes": (data) => light.Disclosure.decode(data).encode(),
  "saved bytes": (data) => light.SavedProof.decode(data).encode(),
  "user key": (data) => {
    const user = light.decodeUserKey(data);
    return [user.member, user.publicKey.keyId, user.roles, user.validUntilMs, user.patient];
  },
  permission: (data) => permissionOf(light.decodePermission(data)),
  "resident keys": (data) => light.decodeResidentKeys(data),
  directives: (data) => light.encodeDirectives(light.decodeDirectives(data)),
  copies: (data) =>
    light.decodeCopies(data).map((c) => [c.hospital, c.state, c.reason, c.untilMs]),
  share: (data) => light.encodeShare(light.decodeShare(data)),
  permits: (data, member, key, view, purpose, time) => {
    const reader = { member: codec.memberId(textOf(member), "member"), reader: key };
    const directives = light.decodeDirectives(data);
    const [seen, why] = [textOf(view), textOf(purpose)];
    return light.permits(directives, reader, seen, why, time) ? "True" : "False";
  },
  closed: (data, time) => light.closed(light.decodeShare(data), time),
  "share secrets": (token, passcode) => [
    light.shareTokenHash(token),
    light.shareVerifier(token, textOf(passcode)),
    light.shareContentKey(token),
  ],
  signature: async (key, signature, preimage) => {
    const publicKey = PublicKey.decode(key);
    await verifySignature(publicKey, signature, preimage, "test");
    return publicKey.keyId;
  },
  certified: async (header, membership, chainId) => {
    const untrusted = CertifiedHeader.decode(header);
    const voters = Membership.decode(membership);
    codec.sized(chainId, 32, "Hash32");
    return (await light.verifyCertifiedHeader(untrusted, voters, chainId)).hash;
  },
  "trust genesis": (data, chainId) => light.trustGenesis(data, chainId).encode(),
  header: async (chain, header) => {
    const found = await light.verifyHeader(trusted(chain), CertifiedHeader.decode(header));
    return [found.height, found.timeMs, found.stateRoot];
  },
  follow: async (chain, changes) =>
    (await light.follow(trusted(chain), light.decodeChanges(changes))).encode(),
  advance: async (chain, changes, newest) => {
    const [from, header] = [trusted(chain), CertifiedHeader.decode(newest)];
    return (await light.advance(from, light.decodeChanges(changes), header)).encode();
  },
  refresh: async (chain, changes, newest, now, maxAge) => {
    const [from, header] = [trusted(chain), CertifiedHeader.decode(newest)];
    const advanced = await light.advance(from, light.decodeChanges(changes), header);
    light.checkAge(header.header, now, maxAge);
    return advanced.encode();
  },
  "first visit": async (genesis, changes, newest, now, maxAge) => {
    const header = CertifiedHeader.decode(newest);
    const start = light.trustGenesis(genesis, null);
    const advanced = await light.advance(start, light.decodeChanges(changes), header);
    light.checkAge(header.header, now, maxAge);
    return advanced.encode();
  },
  checkpoint: (text) => {
    const found = light.Checkpoint.fromText(textOf(text));
    return [utf8(found.text), found.chainId, found.height, found.headerHash];
  },
  "trust checkpoint": async (text, header, membership) => {
    const printed = light.Checkpoint.fromText(textOf(text));
    const [certified, voters] = [CertifiedHeader.decode(header), Membership.decode(membership)];
    return (await light.trustCheckpoint(printed, certified, voters)).encode();
  },
  hear: async (chain, hospital, changes, header, now, maxAge) => {
    const heard = testimony([hospital, changes, header]);
    return (await light.hearNewest(trusted(chain), heard, now, maxAge)).encode();
  },
  compare: async (chain, first, second) =>
    (await light.compareWitnesses(trusted(chain), testimony(first), testimony(second))).encode(),
  fork: async (genesis, data) => {
    const report = await light.verifyFork(genesis, data);
    const { height, hashes, hospitals, signedBoth, sameView } = report;
    return [height, hashes, hospitals, signedBoth, sameView ? "same view" : "two views"];
  },
  "fork bytes": (chainId, first, second) =>
    light.encodeFork(chainId, testimony(first), testimony(second)),
  age: (data, now, maxAge) => light.checkAge(Header.decode(data), now, maxAge),
  "state proof": (data, key, value, root) => verifyState(StateProof.decode(data), key, value, root),
  "state parts": (depth, bitmap, siblings, other, key, value, root) =>
    verifyState(new StateProof(Number(depth), bitmap, siblings, other), key, value, root),
  inclusion: light.verifyInclusion,
  consistency: light.verifyConsistency,
  state: async (chain, data, key, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.StateBundle);
    const found = await light.verifyStateBundle(trusted(chain), bundle, key, now, maxAge);
    return [found.value, found.header.height];
  },
  log: async (chain, data, key, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.LogBundle);
    return (await light.verifyLogBundle(trusted(chain), bundle, key, now, maxAge)).entries;
  },
  "log entry": async (chain, data, key, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.LogEntryBundle);
    const found = await light.verifyLogEntryBundle(trusted(chain), bundle, key, now, maxAge);
    return [found.index, found.entry, found.count];
  },
  "log entries": async (chain, data, key, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.LogEntriesBundle);
    const found = await light.verifyLogEntriesBundle(trusted(chain), bundle, key, now, maxAge);
    return found.map(({ index, entry, count }) => [index, entry, count]);
  },
  "patient list": async (chain, data, patient, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.LogBundle);
    return rowsOf(await light.verifyPatientList(trusted(chain), bundle, patient, now, maxAge));
  },
  "access log": async (chain, data, patient, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.LogBundle);
    return accessesOf(await light.verifyAccessLog(trusted(chain), bundle, patient, now, maxAge));
  },
  "patient directives": async (chain, data, patient, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.StateBundle);
    const found = await light.verifyDirectives(trusted(chain), bundle, patient, now, maxAge);
    return [light.encodeDirectives(found.directives), found.header.timeMs];
  },
  "link share": async (chain, data, id, token, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.StateBundle);
    const found = await light.verifyShare(trusted(chain), bundle, id, token, now, maxAge);
    return [light.encodeShare(found.share), found.closed, found.header.timeMs];
  },
  "own share": async (chain, data, id, patient, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.StateBundle);
    const found = await light.verifyOwnShare(trusted(chain), bundle, id, patient, now, maxAge);
    return [light.encodeShare(found.share), found.closed, found.header.timeMs];
  },
  "permission certificate": async (chain, data, entry, patient, now, maxAge) => {
    const bundle = light.decodeBundleOf(data, light.StateBundle);
    const [from, disclosed] = [trusted(chain), light.decodeDisclosed(entry)];
    const { permission, share, header } = await light.verifyPermissionCertificate(
      from, bundle, disclosed, patient, now, maxAge,
    );
    const granted = permission ? permissionOf(permission) : share && light.encodeShare(share);
    return [granted, header.height];
  },
  disclosure: (root, data, files) => {
    const [rules] = rulesOf(files);
    return recordOf(light.recordUnder(root, light.Disclosure.decode(data), rules));
  },
  "disclosure parts": (root, shown, hidden, copies) => {
    const fields = shown.map((/** @type {Uint8Array[]} */ [path, value, salt]) => ({ path, value, salt }));
    const leaves = new Array(Number(copies)).fill(hidden).flat();
    const disclosure = new light.Disclosure("resident", new Uint8Array(32), fields, leaves);
    return verifyDisclosure(disclosure, root).map(({ path, value }) => [path, value]);
  },
  "hiding rule": (root, data, copy, files) => {
    const [rules] = rulesOf(files);
    const record = light.recordUnder(root, light.Disclosure.decode(data), rules);
    const found = light.hidingRule(record, light.Disclosure.decode(copy), rules);
    return found.map(({ path, rule }) => [path, rule]);
  },
  "view rules": (files) => {
    const [{ view, version, hash, texts }] = rulesOf(files);
    return [view, version, hash, sorted([...texts].map(([rule, each]) => [rule, sorted([...each])]))];
  },
  "padded rules": (data, spaces) => {
    const padded = new Uint8Array(data.length + Number(spaces)).fill(0x20);
    padded.set(data);
    const { view, version } = light.ViewRules.decode(padded);
    return [view, version];
  },
  decision: (files, kind, path) => {
    const [rules] = rulesOf(files);
    const { rule, action, form } = rules.decide(textOf(kind), split(path).exact);
    return [rule, action, form, rules.shows(textOf(kind), path) ? "True" : "False"];
  },
  hiding: (files, kind) => rulesOf(files)[0].hiding(textOf(kind)),
  allowed: (files, pairs) => {
    const [rules] = rulesOf(files);
    /** @type {import("/light/disclosure.js").RecordField[]} */
    const fields = pairs.map((/** @type {Uint8Array[]} */ [path, value]) => ({ path, value }));
    const [values, paths] = [byPath(fields), fields.map(({ path }) => path)];
    const kind = kindOf(values);
    return [kind, paths.filter((path) => rules.allows(kind, path, values))];
  },
  "rules in force": (view, value, files) =>
    light.ruleBook(textOf(view), value, rulesOf(files)).inForce.hash,
  "rules of": (view, value, files, digest) => {
    const book = light.ruleBook(textOf(view), value, rulesOf(files));
    return book.of(codec.sized(digest, 32, "Hash32")).version;
  },
  sealed: async (row, key) => {
    const entry = light.decodePatientEntry(row);
    if (entry.kind !== "row") throw new light.NotCanonical("patient log entry", "no row");
    const m = await light.openSealed(entry, key);
    return [m.kind, m.codeSystem, m.code, m.effective, m.locator, m.nationalIndex];
  },
  deidentified: async (chain, data, shown, holder, hashes, files, now, maxAge) => {
    const book = light.ruleBook("deidentified", hashes, rulesOf(files));
    const bundle = light.decodeBundleOf(data, light.LogEntryBundle);
    const record = light.Disclosure.decode(shown);
    const member = new TextDecoder().decode(holder);
    return recordOf(
      await light.verifyDeidentified(trusted(chain), bundle, record, member, book, now, maxAge),
    );
  },
  "saved proof": async (genesis, data, now, files) => {
    const report = await light.verifySavedProof(genesis, data, now, rulesOf(files));
    return [
      report.key,
      report.header.height,
      report.ageMs,
      report.patientList && rowsOf(report.patientList),
      report.accesses && accessesOf(report.accesses),
      report.row && report.row.index,
      report.record && recordOf(report.record),
    ];
  },
};

/** @param {unknown} value @returns {unknown} */
function shown(value) {
  if (value instanceof Uint8Array) return light.toHex(value);
  if (typeof value === "bigint" || typeof value === "number") return value.toString();
  if (Array.isArray(value)) return value.map(shown);
  return value ?? null;
}

/**
 * As vectors write it: hexadecimal text is bytes, a number or "=digits" an integer.
 * @param {unknown} written
 * @returns {Argument}
 */
function argument(written) {
  if (typeof written === "number") return BigInt(written);
  if (Array.isArray(written)) return written.map(argument);
  if (typeof written !== "string") return written;
  return written.startsWith("=") ? BigInt(written.slice(1)) : light.fromHex(written);
}

/** {"result": ...} or {"error": class, "message": text}; anything else thrown is a bug. @param {string} name @param {unknown[]} written */
async function verdict(name, written) {
  try {
    return { result: shown(await CALLS[name](...written.map(argument))) };
  } catch (error) {
    if (error instanceof light.PeerFault) return { error: error.name, message: error.message };
    return { bug: `${name}: ${error instanceof Error ? error.stack : error}` };
  }
}

/** One verdict for each call. @param {[string, unknown[]][]} calls */
export async function verdicts(calls) {
  const found = [];
  for (const [name, written] of calls) found.push(await verdict(name, written));
  return found;
}

/** Names of all calls. */
export const names = Object.keys(CALLS);
