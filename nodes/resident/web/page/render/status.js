/**
 * Whether a record still stands as it was written.
 * @module
 */

import { h } from "../dom.js";
import { named } from "../i18n.js";

/** @param {string | null} status null: it stands */
export function statusNote(status) {
  if (status === null) return null;
  return h("p", { class: "status" }, named("status", status) ?? status);
}
