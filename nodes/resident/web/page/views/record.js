/**
 * One record: what it says, what is hidden and by which rule, against what it was verified.
 * @module
 */

import { toHex } from "../../light/bytes.js";
import { copiesKey, decodeCopies } from "../../light/index.js";
import { h } from "../dom.js";
import { Failure } from "../failures.js";
import { t } from "../i18n.js";
import { describe, kindName, proofBox, recordBody } from "../parts.js";
import { readRecord, recordList } from "../records.js";
import { dateOf } from "../render/fhir.js";
import { statusNote } from "../render/status.js";
import { objectOf } from "../render/tree.js";

/** @typedef {import("../main.js").App} App */

/** @param {App} app @param {string} [place] index in the list @param {string} [view] */
export async function recordView({ session, store, identity }, place, view = "resident") {
  const list = await recordList(session, store, identity);
  const listed = list.rows.find((row) => String(row.index) === place);
  if (listed === undefined) throw new Failure("no-such-record");
  if (listed.status === "erased") throw new Failure("erased");
  const shown = await readRecord(session, store, identity, listed, view);
  const { kind, title, tree } = describe(shown.record);
  const hospital = session.nameOf(listed.row.member);
  const date = dateOf(objectOf(tree) ?? {});
  const whole = !shown.kept && view === "resident" && shown.record.hiddenCount > 0
    && (await copyOpen(session, identity.patient, listed.row.member));
  return h(
    "article",
    {},
    h("p", {}, h("a", { href: "#records" }, t("record.back"))),
    h("h1", {}, kindName(kind)),
    title && h("p", { class: "lead" }, title),
    h("p", { class: "hint" }, [date, hospital].filter(Boolean).join(" · ")),
    statusNote(listed.status),
    recordBody(shown.record, shown.rules, shown.attachments),
    whole && h("p", {}, h("a", { href: `#record/${place}/clinical` }, t("record.read-whole"))),
    proofBox(
      t("record.proved", { count: shown.record.fields.length, hospital }),
      list.header,
      list.ageMs,
      shown.kept,
      [[t("proof.root"), toHex(listed.row.root)], [t("proof.checked"), t("record.checked")]],
    ),
  );
}

/** Whether a full copy of that hospital's records may be read now. @param {App["session"]} session @param {Uint8Array} patient @param {string} hospital */
async function copyOpen(session, patient, hospital) {
  const value = await session.state(copiesKey(patient));
  const copies = value === null ? [] : decodeCopies(value);
  const now = session.trusted.timeMs;
  return copies.some((copy) =>
    copy.hospital === hospital && copy.state === "approved" && copy.untilMs > now);
}
