/**
 * Who read my records: the whole access log, newest first, and what covered each disclosure.
 * @module
 */

import { toHex } from "../../light/bytes.js";
import { accessLog, checkAge, decodeDisclosed, permits } from "../../light/index.js";
import { certificates } from "../certificates.js";
import { definitions, h } from "../dom.js";
import { dateTime, named, t } from "../i18n.js";
import { code, proofBox, shortKey } from "../parts.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../../light/consent.js").VerifiedDirectives} VerifiedDirectives */
/** @typedef {import("../../light/entries.js").Disclosed} Disclosed */
/** @typedef {import("../certificates.js").Covered} Covered */

/** @param {App} app */
export async function readersView(app) {
  const { session, identity } = app;
  const log = await session.log(accessLog(identity.patient));
  const entries = log.entries.map(decodeDisclosed);
  const covered = await certificates(session, identity.patient, entries);
  const wishes = await session.directives(identity.patient);
  const age = checkAge(log.header, session.now(), session.maxAgeMs);
  const glass = entries.filter((entry) => entry.basis === "break-glass").length;
  const open = covered.filter((each) => "failure" in each).length;
  const cards = entries.map((entry, i) => card(app, entry, covered[i], wishes));
  return h(
    "section",
    {},
    h("h1", {}, t("readers.title")),
    proofBox(t("readers.proved", { count: entries.length }), log.header, age, false, [
      [t("proof.checked"), t("readers.checked")],
    ]),
    glass > 0 && h("p", { class: "warning" }, t("readers.glass", { count: glass })),
    open > 0 && h("p", { class: "warning" }, t("readers.uncovered", { count: open })),
    entries.length === 0 && h("p", {}, t("readers.empty")),
    h("ul", { class: "cards" }, ...cards.reverse()),
  );
}

/** @param {App} app @param {Disclosed} entry @param {Covered} covered @param {VerifiedDirectives} wishes */
function card({ session, identity }, entry, covered, wishes) {
  const mine = toHex(entry.reader) === identity.keyId;
  const glass = entry.basis === "break-glass";
  const rows = entry.rows.map((row) => String(row + 1n)).join(", ");
  const others = !mine && entry.purpose !== "PATRQT";
  return h(
    "li",
    { class: glass || "failure" in covered ? "card glass" : "card" },
    h("p", { class: "kind" }, whoText(entry, session, mine)),
    glass && h("p", { class: "status" }, t("readers.break-glass")),
    definitions([
      [t("readers.what"), rows ? t("readers.rows", { rows }) : t("readers.list")],
      [t("readers.why"), named("purpose", entry.purpose) ?? entry.purpose],
      [t("readers.view"), named("view", entry.view) ?? entry.view],
      [t("readers.when"), t("readers.at", { time: dateTime(entry.timeMs), height: entry.height })],
      [t("readers.from"), session.nameOf(entry.holder)],
      [t("readers.key"), code(shortKey(entry.reader))],
      [t("readers.covered"), coveredText(entry, covered)],
      ...(others ? [/** @type {[string, string]} */ ([t("readers.now"), nowText(entry, wishes)])] : []),
    ]),
    !mine && entry.basis !== "share" && h("a", {
      href: `#consent/${entry.readerMember}/${toHex(entry.reader)}`,
    }, t("readers.restrict")),
  );
}

/** The certificate in words, or why there is none. @param {Disclosed} entry @param {Covered} covered */
function coveredText(entry, covered) {
  if ("failure" in covered) return covered.failure;
  const { permission, share } = covered;
  const id = shortKey(entry.permission);
  if (permission === null) {
    const view = named("view", share.view) ?? share.view;
    return t("readers.by-share", { id, view, time: dateTime(share.untilMs) });
  }
  return t("readers.by-permission", {
    id,
    view: named("view", permission.view) ?? permission.view,
    purpose: named("purpose", permission.purpose) ?? permission.purpose,
    height: permission.expires,
  });
}

/** What the directives of today leave to that reader. @param {Disclosed} entry @param {VerifiedDirectives} wishes */
function nowText(entry, { directives, header }) {
  const reader = { member: entry.readerMember, reader: entry.reader };
  const left = permits(directives, reader, entry.view, entry.purpose, header.timeMs);
  return t(left ? "readers.now-left" : "readers.now-forbidden");
}

/** @param {Disclosed} entry @param {App["session"]} session @param {boolean} mine */
function whoText(entry, session, mine) {
  if (entry.basis === "share") return t("readers.share");
  if (mine) return t("readers.this-device");
  const member = session.nameOf(entry.readerMember);
  return entry.purpose === "PATRQT" ? t("readers.patient-side") : t("readers.staff", { member });
}
