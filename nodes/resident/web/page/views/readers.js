/**
 * Who read my records: the whole access log, newest first.
 * @module
 */

import { toHex } from "../../light/bytes.js";
import { accessLog, checkAge, decodeDisclosed } from "../../light/index.js";
import { definitions, h } from "../dom.js";
import { dateTime, named, t } from "../i18n.js";
import { code, proofBox, shortKey } from "../parts.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../../light/entries.js").Disclosed} Disclosed */

/** @param {App} app */
export async function readersView({ session, identity }) {
  const log = await session.log(accessLog(identity.patient));
  const entries = log.entries.map(decodeDisclosed);
  const age = checkAge(log.header, session.now(), session.maxAgeMs);
  const glass = entries.filter((entry) => entry.basis === "break-glass").length;
  return h(
    "section",
    {},
    h("h1", {}, t("readers.title")),
    proofBox(t("readers.proved", { count: entries.length }), log.header, age, false),
    glass > 0 && h("p", { class: "warning" }, t("readers.glass", { count: glass })),
    entries.length === 0 && h("p", {}, t("readers.empty")),
    h(
      "ul",
      { class: "cards" },
      ...[...entries].reverse().map((entry) => card(entry, session, identity.keyId)),
    ),
  );
}

/** @param {Disclosed} entry @param {App["session"]} session @param {string} own */
function card(entry, session, own) {
  const mine = toHex(entry.reader) === own;
  const glass = entry.basis === "break-glass";
  const rows = entry.rows.map((row) => String(row + 1n)).join(", ");
  return h(
    "li",
    { class: glass ? "card glass" : "card" },
    h("p", { class: "kind" }, whoText(entry, session, mine)),
    glass && h("p", { class: "status" }, t("readers.break-glass")),
    definitions([
      [t("readers.what"), rows ? t("readers.rows", { rows }) : t("readers.list")],
      [t("readers.why"), named("purpose", entry.purpose) ?? entry.purpose],
      [t("readers.view"), named("view", entry.view) ?? entry.view],
      [t("readers.when"), t("readers.at", { time: dateTime(entry.timeMs), height: entry.height })],
      [t("readers.from"), session.nameOf(entry.holder)],
      [t("readers.key"), code(shortKey(entry.reader))],
    ]),
    !mine && entry.basis !== "share" && h("a", {
      href: `#consent/${entry.readerMember}/${toHex(entry.reader)}`,
    }, t("readers.restrict")),
  );
}

/** @param {Disclosed} entry @param {App["session"]} session @param {boolean} mine */
function whoText(entry, session, mine) {
  if (entry.basis === "share") return t("readers.share");
  if (mine) return t("readers.this-device");
  const member = session.nameOf(entry.readerMember);
  return entry.purpose === "PATRQT" ? t("readers.patient-side") : t("readers.staff", { member });
}
