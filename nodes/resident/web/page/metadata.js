/**
 * Kind, code and date of a row, which are sealed on the chain for the hospitals; a gateway gives a
 * resident the keys of the rows whose metadata hide nothing.
 * @module
 */

import { openSealed, PeerFault } from "../light/index.js";

/** @typedef {import("../light/sealing.js").Metadata} Metadata */

/**
 * What is sealed in the row; null where the key does not open it, which must not hide the row.
 * @param {import("../light/entries.js").Row} row
 * @param {Uint8Array} key 32 bytes
 * @returns {Promise<Metadata | null>}
 */
export async function metadataOf(row, key) {
  try {
    return await openSealed(row, key);
  } catch (error) {
    if (!(error instanceof PeerFault)) throw error;
    return null;
  }
}
