/**
 * Who may read: forbid, allow, narrow, take back; and requests for a full copy.
 * @module
 */

import { equal, fromHex } from "../../light/bytes.js";
import { checkAge, copiesKey, decodeCopies, encodeDirectives, sameSubject } from "../../light/index.js";
import { DAY_MS, execute } from "../actions.js";
import { field, h, select } from "../dom.js";
import { Failure } from "../failures.js";
import { dateTime, named, t } from "../i18n.js";
import { actionButton, form, proofBox, shortKey } from "../parts.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../../light/residents.js").Directive} Directive */

/** What a directive may say here, from nothing to all. @type {Readonly<Record<string, [string[], string[]]>>} */
const LEVELS = {
  nothing: [[], []],
  summary: [["resident"], ["ETREAT", "TREAT"]],
  all: [["clinical", "resident"], ["ETREAT", "TREAT"]],
};
const DAYS_DEFAULT = 365;
const DAYS_MAX = 3_650;

/** @param {App} app @param {string} [member] whom to be about @param {string} [reader] */
export async function consentView(app, member, reader) {
  const { session, identity } = app;
  const { directives, header } = await session.directives(identity.patient);
  const value = await session.state(copiesKey(identity.patient));
  const copies = value === null ? [] : decodeCopies(value);
  const age = checkAge(header, session.now(), session.maxAgeMs);
  return h(
    "section",
    {},
    h("h1", {}, t("consent.title")),
    h("p", {}, t("consent.default")),
    proofBox(t("consent.proved", { count: directives.length }), header, age, false),
    h("ul", { class: "cards" }, ...directives.map((one) => card(app, one, header.timeMs))),
    h("h2", {}, t("consent.new")),
    directiveForm(app, member, reader),
    h("h2", {}, t("copies.title")),
    copiesPart(app, copies),
  );
}

/** @param {App["session"]} session @param {Pick<Directive, "member" | "reader">} directive */
function subjectText(session, { member, reader }) {
  if (member === null) return t("consent.everybody");
  const name = session.nameOf(member);
  return reader === null ? name : t("consent.one-key", { member: name, key: shortKey(reader) });
}

/** @param {App} app @param {Directive} directive @param {bigint} timeMs of the header that proves it */
function card(app, directive, timeMs) {
  const { session, identity } = app;
  const { member, reader, views, purposes, untilMs } = directive;
  const over = untilMs <= timeMs;
  const forbids = views.length === 0 || purposes.length === 0;
  const what = forbids ? t("consent.forbidden") : t("consent.allowed", {
    views: views.map((view) => named("view", view) ?? view).join(t("list.and")),
    purposes: purposes.map((one) => named("purpose", one) ?? one).join(t("list.and")),
  });
  return h(
    "li",
    { class: forbids ? "card forbids" : "card" },
    h("p", { class: "kind" }, subjectText(session, directive)),
    h("p", {}, what),
    h("p", { class: "hint" }, t(over ? "consent.over" : "consent.until", { time: dateTime(untilMs) })),
    actionButton(t("consent.withdraw"), async () => {
      await execute(session, identity, "consent", "withdraw", [member, reader]);
      const left = await session.directives(identity.patient);
      if (left.directives.some((one) => sameSubject(one, directive))) throw new Failure("not-proved");
      app.go("consent");
    }),
  );
}

/** @param {App} app @param {string} [member] @param {string} [reader] */
function directiveForm(app, member, reader) {
  const { session, identity } = app;
  /** @type {[string, string][]} */
  const subjects = [["", t("consent.everybody")]];
  for (const { id, name } of session.hospitals()) subjects.push([id, name]);
  if (member && reader && /^[0-9a-f]{64}$/.test(reader)) {
    const name = subjectText(session, { member, reader: fromHex(reader) });
    subjects.push([`${member}/${reader}`, name]);
  }
  const who = select(subjects, member && reader ? `${member}/${reader}` : member ?? "");
  const what = select([
    ["nothing", t("consent.nothing")],
    ["summary", t("consent.summary")],
    ["all", t("consent.all")],
  ]);
  const days = h("input", {
    type: "number", min: "1", max: String(DAYS_MAX), value: String(DAYS_DEFAULT), required: true,
  });
  const act = async () => {
    const [wanted, key] = who.value.split("/");
    const [views, purposes] = LEVELS[what.value];
    /** @type {Directive} */
    const wish = {
      member: wanted || null,
      reader: key ? fromHex(key) : null,
      views,
      purposes,
      untilMs: BigInt(Date.now() + Number(days.value) * DAY_MS),
    };
    await execute(session, identity, "consent", "direct", [
      wish.member, wish.reader, views, purposes, wish.untilMs,
    ]);
    const { directives } = await session.directives(identity.patient);
    const made = directives.filter((one) => sameSubject(one, wish));
    if (!equal(encodeDirectives(made), encodeDirectives([wish]))) throw new Failure("not-proved");
    app.go("consent");
  };
  return form(
    [
      field(t("consent.who"), who),
      field(t("consent.what"), what),
      field(t("consent.days"), days),
      h("p", { class: "hint" }, t("consent.emergency")),
    ],
    t("consent.save"),
    act,
  );
}

/** @param {App} app @param {ReturnType<typeof decodeCopies>} copies */
function copiesPart(app, copies) {
  const { session, identity } = app;
  const states = copies.map((copy) => {
    const until = copy.state === "approved" ? t("copies.until", { time: dateTime(copy.untilMs) }) : "";
    const reason = copy.reason === null ? "" : named("reason", copy.reason) ?? copy.reason;
    const state = named("copy", copy.state) ?? copy.state;
    return h("li", { class: "card" },
      h("p", { class: "kind" }, session.nameOf(copy.hospital)),
      h("p", {}, [state, until, reason].filter(Boolean).join(" · ")));
  });
  const hospital = select(session.hospitals().map(({ id, name }) => [id, name]));
  return h(
    "div",
    {},
    h("p", {}, t("copies.intro")),
    h("ul", { class: "cards" }, ...states),
    form([field(t("copies.hospital"), hospital)], t("copies.ask"), async () => {
      await execute(session, identity, "copy", "request", [hospital.value]);
      app.go("consent");
    }),
  );
}
