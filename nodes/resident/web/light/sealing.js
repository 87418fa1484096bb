/**
 * The sealed part of a row: what the record is, for whoever holds the key of that row.
 * @module
 */

import { concat } from "./bytes.js";
import * as codec from "./codec.js";
import { NotCanonical, SealBroken } from "./errors.js";
import { METADATA_BYTES_MAX, SEALING_NONCE_BYTES } from "./limits.js";
import { TERMS } from "./terms.js";

const ROW_KEY_BYTES = 32;
// Each row key encrypts one message only, so the nonce may be constant.
const ZERO_NONCE = new Uint8Array(12);
const NUMBERED = new Set(TERMS);

/**
 * What the sealed part of a row says.
 * @typedef {object} Metadata
 * @property {string} kind FHIR resource type, or "ImagingStudy" for a DICOM study
 * @property {string} codeSystem URI; empty where the record has no code
 * @property {string} code
 * @property {string} effective when it happened, as the record writes it; empty where it does not say
 * @property {string} locator where the holder's store has it; means nothing to others
 * @property {string | null} nationalIndex
 */

/**
 * The sealed metadata of a row, with the key of that row alone; throws SealBroken, NotCanonical or
 * TooLarge.
 * @param {import("./entries.js").Row} row
 * @param {Uint8Array} rowKey 32 bytes
 */
export async function openSealed(row, rowKey) {
  if (rowKey.length !== ROW_KEY_BYTES) throw new RangeError("a row key has 32 bytes");
  const ciphertext = row.sealed.slice(SEALING_NONCE_BYTES);
  const key = await crypto.subtle.importKey("raw", rowKey.slice(), "AES-GCM", false, ["decrypt"]);
  const additionalData = concat(row.patient, row.root);
  const algorithm = { name: "AES-GCM", iv: ZERO_NONCE, additionalData };
  let opened;
  try {
    opened = await crypto.subtle.decrypt(algorithm, key, ciphertext);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "OperationError")) throw error;
    throw new SealBroken("sealed metadata");
  }
  return decodeMetadata(new Uint8Array(opened));
}

/** @param {Uint8Array} data @returns {Metadata} */
export function decodeMetadata(data) {
  const fields = codec.array(codec.decode(data, METADATA_BYTES_MAX, "metadata"), 6, "metadata");
  const [kind, codeSystem] = fields.slice(0, 2).map(term);
  const [code, effective, locator] = fields.slice(2, 5).map(text);
  const nationalIndex = fields[5] === null ? null : text(fields[5]);
  return { kind, codeSystem, code, effective, locator, nationalIndex };
}

/** @param {codec.Value} value */
function term(value) {
  if (typeof value === "bigint") {
    return TERMS[Number(codec.uint(value, "metadata term", BigInt(TERMS.length - 1)))];
  }
  const found = text(value);
  if (NUMBERED.has(found)) {
    throw new NotCanonical("metadata", "a term that has a number is written as text");
  }
  return found;
}

/** @param {codec.Value} value */
function text(value) {
  return codec.text(value, "metadata", METADATA_BYTES_MAX);
}
