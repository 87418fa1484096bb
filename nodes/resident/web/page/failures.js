/**
 * What went wrong, in words, and what to do about it.
 * @module
 */

import { PeerFault, ShareClosed, WitnessRefused } from "../light/index.js";
import { named, t } from "./i18n.js";

/** Something that a person can be told about. */
export class Failure extends Error {
  /**
   * @param {string} code a text `failure:...` exists for it
   * @param {Readonly<Record<string, string | number>>} [parameters] of that text
   */
  constructor(code, parameters = {}) {
    super(code);
    this.code = code;
    this.parameters = parameters;
  }
}

/** A server or the chain said no. */
export class Refused extends Failure {
  /** @param {string} code as docs/resident-api.md names it @param {number} status 0: by the chain */
  constructor(code, status) {
    super(code, { status });
    this.status = status;
  }
}

/**
 * The sentence for a person. What a server wrote is not repeated, only its code.
 * @param {unknown} error
 */
export function explain(error) {
  if (error instanceof WitnessRefused) {
    const { hospital, error: name } = error.fields;
    return t("failure.witness", { hospital: String(hospital), why: unproved(String(name)) });
  }
  if (error instanceof ShareClosed) {
    const state = String(error.fields.state);
    return t("failure.share-closed", { state: named("share", state) ?? state });
  }
  if (error instanceof PeerFault) return unproved(error.name);
  if (error instanceof Failure) {
    const text = named("failure", error.code, error.parameters);
    if (text !== null) return text;
    if (error instanceof Refused) return t("failure.refused", { code: error.code.slice(0, 64) });
  }
  console.error(error);
  return t("failure.unforeseen");
}

/** @param {string} name class of the error */
function unproved(name) {
  return named("failure", name) ?? t("failure.unproved", { name });
}

/** Whether the page may work from what it kept. @param {unknown} error */
export function isOffline(error) {
  return error instanceof Failure && error.code === "unreachable";
}
