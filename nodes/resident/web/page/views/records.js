/**
 * My records: the complete list, and what was verified of it.
 * @module
 */

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { kindName, proofBox } from "../parts.js";
import { keptIndexes, recordList } from "../records.js";
import { statusNote } from "../render/status.js";
import { shortDate } from "../render/fhir.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../records.js").RecordList} RecordList */

/** @param {App} app */
export async function recordsView({ session, store, identity }) {
  const list = await recordList(session, store, identity);
  const kept = await keptIndexes(store, identity);
  const newestFirst = [...list.rows].reverse();
  return h(
    "section",
    {},
    h("h1", {}, t("records.title")),
    listProof(list),
    newestFirst.length === 0 && h("p", {}, t("records.empty")),
    h(
      "ul",
      { class: "cards" },
      ...newestFirst.map((row) => card(row, session.nameOf(row.row.member), kept.has(row.index))),
    ),
  );
}

/** @param {RecordList} list */
export function listProof(list) {
  const statement = t("records.proved", { count: list.rows.length, entries: list.entries });
  return proofBox(statement, list.header, list.ageMs, list.kept, [
    [t("proof.signers"), t("proof.signers-of", { signers: list.signers, voters: list.voters })],
    [t("proof.checked"), t("records.checked")],
  ]);
}

/** @param {RecordList["rows"][number]} row @param {string} hospital @param {boolean} kept */
function card({ index, status, metadata }, hospital, kept) {
  const kind = metadata === null ? t("records.sealed") : kindName(metadata.kind);
  return h(
    "li",
    { class: status === null ? "card" : "card changed" },
    h(
      "a",
      { href: `#record/${index}` },
      h("span", { class: "kind" }, kind),
      h("span", { class: "when" }, metadata?.effective ? shortDate(metadata.effective) : ""),
      h("span", { class: "where" }, t("records.row", { hospital, number: index + 1 })),
      kept && h("span", { class: "badge" }, t("records.on-device")),
    ),
    statusNote(status),
  );
}
