/**
 * Kind, code and date of a row, which are sealed on the chain for the hospitals; a gateway gives a
 * resident the keys of the rows whose metadata hide nothing (ledger/crypto/sealing.py).
 * @module
 */

import { concat } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import { NotCanonical } from "../light/index.js";
import { TERMS } from "./terms.js";

const NONCE_BYTES = 12;

/** @typedef {{kind: string, system: string, code: string, effective: string}} Metadata */
/** @typedef {import("../light/entries.js").Row} Row */

/**
 * What is sealed in the row; null where the key does not open it, which must not hide the row.
 * @param {Row} row
 * @param {Uint8Array} key
 * @returns {Promise<Metadata | null>}
 */
export async function openSealed(row, key) {
  try {
    const imported = await crypto.subtle.importKey("raw", key.slice(), "AES-GCM", false, ["decrypt"]);
    const algorithm = {
      name: "AES-GCM",
      iv: new Uint8Array(NONCE_BYTES), // each key seals one row only
      additionalData: concat(row.patient, row.root),
    };
    const sealed = row.sealed.slice(NONCE_BYTES);
    const opened = new Uint8Array(await crypto.subtle.decrypt(algorithm, imported, sealed));
    const fields = codec.array(codec.decode(opened, 1_024, "metadata"), 6, "metadata");
    const [code, effective] = [2, 3].map((i) => codec.text(fields[i], "metadata", 1_024));
    return { kind: term(fields[0]), system: term(fields[1]), code, effective };
  } catch {
    return null;
  }
}

/** @param {codec.Value} value */
function term(value) {
  if (typeof value !== "bigint") return codec.text(value, "metadata", 1_024);
  const found = TERMS[Number(value)];
  if (found === undefined) throw new NotCanonical("metadata", "a term without a meaning");
  return found;
}
