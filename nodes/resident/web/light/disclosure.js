/**
 * Disclosures: some fields of a record, and the leaves of all others, under the record's root.
 *
 * The leaf of a field is H("field", salt, path, value). One more field, `@dependencies`, lists pairs
 * of leaves: where the first is shown, the second must be.
 * @module
 */

import { ascending, compare, equal, toHex, utf8 } from "./bytes.js";
import * as codec from "./codec.js";
import { NotCanonical, PeerFault, ProofInvalid } from "./errors.js";
import { VIEWS } from "./entries.js";
import { hashTagged } from "./hashing.js";
import {
  COMMITMENT_FIELDS_MAX,
  DISCLOSURE_BYTES_MAX,
  FIELD_PATH_BYTES_MAX,
  SALT_BYTES,
} from "./limits.js";
import { leafHash, rootOf } from "./merkle.js";

const WHAT = "disclosure";
const DEPENDENCIES_PATH = utf8("@dependencies");

/** @typedef {{path: Uint8Array, value: Uint8Array, salt: Uint8Array}} ShownField */
/** @typedef {{path: Uint8Array, value: Uint8Array}} RecordField */

/** The root does not cover `view` and `rules`: they are what the discloser says. */
export class Disclosure {
  /**
   * @param {string} view one of VIEWS
   * @param {Uint8Array} rules hash of the rule file that says what the view shows
   * @param {readonly ShownField[]} shown sorted by path; `@dependencies` is always among them
   * @param {readonly Uint8Array[]} hidden leaves, sorted
   */
  constructor(view, rules, shown, hidden) {
    this.view = view;
    this.rules = rules;
    this.shown = shown;
    this.hidden = hidden;
  }

  encode() {
    const shown = this.shown.map(({ path, value, salt }) => [path, value, salt]);
    return codec.encode([this.view, this.rules, shown, this.hidden]);
  }

  /** @param {Uint8Array} data */
  static decode(data) {
    const value = codec.decode(data, DISCLOSURE_BYTES_MAX, WHAT);
    const [view, rules, shown, hidden] = codec.array(value, 4, WHAT);
    const name = codec.text(view, "disclosure's view", 16);
    if (!VIEWS.includes(name)) {
      throw new NotCanonical("disclosure's view", `it is none of ${VIEWS.join(", ")}`);
    }
    const leavesMax = COMMITMENT_FIELDS_MAX + 1;
    return new Disclosure(
      name,
      exact(rules, "disclosure's rules", 32),
      codec.arrayUpTo(shown, leavesMax, WHAT).map(shownField),
      codec.arrayUpTo(hidden, leavesMax, WHAT).map((leaf) => exact(leaf, "hidden leaf", 32)),
    );
  }

  /** Leaves of all fields, shown and hidden, sorted, and the root over them. */
  leaves() {
    const visible = this.shown.map(fieldLeaf);
    const sorted = [...visible, ...this.hidden].sort(compare);
    return { visible, sorted, root: rootOf(sorted.map(leafHash)) };
  }
}

/** H("field", salt, path, value). @param {ShownField} field */
export function fieldLeaf({ path, value, salt }) {
  return hashTagged("field", salt, path, value);
}

/** @param {codec.Value} value @returns {ShownField} */
function shownField(value) {
  const [path, content, salt] = codec.array(value, 3, "disclosed field");
  return {
    path: codec.binary(path, "path of a disclosed field", FIELD_PATH_BYTES_MAX),
    value: codec.binary(content, "value of a disclosed field", DISCLOSURE_BYTES_MAX),
    salt: exact(salt, "salt of a disclosed field", SALT_BYTES),
  };
}

/** @param {codec.Value} value @param {string} what @param {number} size */
function exact(value, what, size) {
  const data = codec.binary(value, what, size);
  if (data.length !== size) throw new NotCanonical(what, `${size} bytes are wanted`);
  return data;
}

/**
 * What is shown, sorted by path, without `@dependencies`; throws ProofInvalid.
 *
 * Checks, in this order: number of leaves; fields in the order of their paths; hidden leaves in
 * order; no leaf twice; root; dependencies shown, well formed, and none of them split.
 * @param {Disclosure} disclosure
 * @param {Uint8Array} root
 * @returns {RecordField[]}
 */
export function verifyDisclosure(disclosure, root) {
  const { shown, hidden } = disclosure;
  if (shown.length + hidden.length > COMMITMENT_FIELDS_MAX + 1) {
    throw new ProofInvalid(WHAT, "it has more leaves than a record may have");
  }
  if (shown.some(({ salt }) => salt.length !== SALT_BYTES)) {
    throw new ProofInvalid(WHAT, "a salt has a wrong length");
  }
  if (!ascending(shown.map(({ path }) => path))) {
    throw new ProofInvalid(WHAT, "the fields are not sorted by path, or one occurs twice");
  }
  if (!ascending(hidden) || hidden.some((leaf) => leaf.length !== 32)) {
    throw new ProofInvalid(WHAT, "the hidden leaves are not sorted, or one occurs twice");
  }
  const leaves = disclosure.leaves();
  if (!ascending(leaves.sorted)) throw new ProofInvalid(WHAT, "a leaf is both shown and hidden");
  if (!equal(leaves.root, root)) throw new ProofInvalid(WHAT, "it does not lead to the root");
  const listed = shown.find(({ path }) => equal(path, DEPENDENCIES_PATH));
  if (listed === undefined) throw new ProofInvalid(WHAT, "the dependencies are not shown");
  checkDependencies(decodeDependencies(listed.value), leaves.visible);
  return shown.filter((field) => field !== listed).map(({ path, value }) => ({ path, value }));
}

/** @param {readonly Uint8Array[][]} pairs @param {readonly Uint8Array[]} visible */
function checkDependencies(pairs, visible) {
  const seen = new Set(visible.map(toHex));
  if (pairs.some(([leaf, required]) => seen.has(toHex(leaf)) && !seen.has(toHex(required)))) {
    throw new ProofInvalid(WHAT, "a field is shown without one that it depends on");
  }
}

/** @param {Uint8Array} listed */
function decodeDependencies(listed) {
  let pairs;
  try {
    const value = codec.decode(listed, DISCLOSURE_BYTES_MAX, "dependencies");
    pairs = codec
      .arrayUpTo(value, COMMITMENT_FIELDS_MAX, "dependencies")
      .map((item) => codec.array(item, 2, "dependency").map((leaf) => exact(leaf, "dependency", 32)));
  } catch (error) {
    if (!(error instanceof PeerFault)) throw error;
    throw new ProofInvalid(WHAT, "the dependencies are malformed");
  }
  const order = pairs.map(([leaf, required]) => {
    const joined = new Uint8Array(64);
    joined.set(leaf);
    joined.set(required, 32);
    return joined;
  });
  if (!ascending(order)) {
    throw new ProofInvalid(WHAT, "the dependencies are not sorted, or one occurs twice");
  }
  return pairs;
}
