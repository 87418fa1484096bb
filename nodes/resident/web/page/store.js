/**
 * What this device keeps, in IndexedDB: keys, what is trusted of the chain, what was read, links.
 *
 * Records lie there in clear: a key beside them would protect them from nobody who can read them.
 * The lock and the encryption of the device protect them, and "remove" deletes them.
 * @module
 */

import { Failure } from "./failures.js";

/**
 * A key of this device and whom it acts for.
 * @typedef {object} Identity
 * @property {string} keyId hex
 * @property {CryptoKeyPair} pair its private half cannot be exported
 * @property {Uint8Array} publicKey
 * @property {Uint8Array} chainId
 * @property {string} hospital that bound it
 * @property {Uint8Array} patient
 * @property {string} role "resident" or "guardian"
 * @property {string} label how the person calls it; known to this device alone
 * @property {boolean} bound it was on the chain, as proved
 */

/** @typedef {{chainId: string, genesis: Uint8Array, trusted: Uint8Array}} KeptChain */

/**
 * A complete list with what proves it again without a network.
 * @typedef {object} KeptList
 * @property {string} keyId
 * @property {Uint8Array} trusted what was trusted before the list was asked for
 * @property {Uint8Array} bundle
 * @property {readonly (readonly [index: number, rowKey: Uint8Array])[]} rowKeys
 */

/**
 * A record that was read.
 * @typedef {object} KeptRecord
 * @property {string} keyId
 * @property {number} index
 * @property {string} view
 * @property {Uint8Array} rules the view's rule file that was in force
 * @property {Uint8Array} disclosure
 * @property {readonly Uint8Array[]} attachments
 */

/** A share's link: the chain does not hold its token. @typedef {{share: string, keyId: string, link: string, label: string}} KeptLink */

const TABLES = /** @type {const} */ ({
  identities: "keyId",
  chains: "chainId",
  lists: "keyId",
  records: ["keyId", "index"],
  links: "share",
});

/** @typedef {{identities: Identity, chains: KeptChain, lists: KeptList, records: KeptRecord, links: KeptLink}} Tables */
/** @typedef {keyof Tables} Table */

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Failure("storage"));
  });
}

export class Store {
  /** @param {IDBDatabase} db */
  constructor(db) {
    this.db = db;
  }

  static async open() {
    const opening = indexedDB.open("yilian", 1);
    opening.onupgradeneeded = () => {
      for (const [name, keyPath] of Object.entries(TABLES)) {
        opening.result.createObjectStore(name, { keyPath: /** @type {string} */ (keyPath) });
      }
    };
    return new Store(await done(opening));
  }

  /** @template {Table} T @param {T} table @param {IDBValidKey} key @returns {Promise<Tables[T] | undefined>} */
  get(table, key) {
    return done(this.db.transaction(table).objectStore(table).get(key));
  }

  /** @template {Table} T @param {T} table @returns {Promise<Tables[T][]>} */
  all(table) {
    return done(this.db.transaction(table).objectStore(table).getAll());
  }

  /** Returns when it is written. @template {Table} T @param {T} table @param {Tables[T]} value */
  put(table, value) {
    return this.write([table], (stores) => void stores[0].put(value));
  }

  /** Everything of one identity: its key, lists, records and links. @param {string} keyId */
  async remove(keyId) {
    const records = (await this.all("records")).filter((record) => record.keyId === keyId);
    const links = (await this.all("links")).filter((link) => link.keyId === keyId);
    const tables = /** @type {Table[]} */ (["identities", "lists", "records", "links"]);
    await this.write(tables, ([identities, lists, kept, shares]) => {
      identities.delete(keyId);
      lists.delete(keyId);
      for (const record of records) kept.delete([keyId, record.index]);
      for (const link of links) shares.delete(link.share);
    });
  }

  /** @param {Table[]} tables @param {(stores: IDBObjectStore[]) => void} change @returns {Promise<void>} */
  write(tables, change) {
    return new Promise((resolve, reject) => {
      const transaction = this.db.transaction(tables, "readwrite");
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(new Failure("storage"));
      change(tables.map((table) => transaction.objectStore(table)));
    });
  }
}
