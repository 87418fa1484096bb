/**
 * This device and the other keys: what acts for me, a lost phone, what is kept here.
 * @module
 */

import { toHex } from "../../light/bytes.js";
import { decodeResidentKeys, decodeUserKey, residentKeysKey, userKey } from "../../light/index.js";
import { execute } from "../actions.js";
import { definitions, h } from "../dom.js";
import { Failure } from "../failures.js";
import { dateTime, named, t } from "../i18n.js";
import { actionButton, code, shortKey } from "../parts.js";

/** @typedef {import("../main.js").App} App */

/** @param {App} app */
export async function deviceView(app) {
  const { session, store, identity } = app;
  const ids = await keysNow(app);
  const cards = await Promise.all(ids.map((id) => keyCard(app, id)));
  const { height, timeMs } = session.trusted;
  return h(
    "section",
    {},
    h("h1", {}, t("device.title")),
    definitions([
      [t("device.label"), identity.label],
      [t("device.role"), named("role", identity.role) ?? identity.role],
      [t("device.hospital"), session.nameOf(identity.hospital)],
      [t("device.chain"), code(toHex(session.chainId))],
      [t("device.trusted"), t("device.trusted-at", { height, time: dateTime(timeMs) })],
    ]),
    h("p", {}, h("a", { class: "button", href: "#check" }, t("check.title"))),
    h("h2", {}, t("device.keys")),
    h("p", {}, t("device.keys-intro")),
    h("ul", { class: "cards" }, ...cards),
    h("h2", {}, t("device.kept")),
    h("p", {}, t("device.kept-intro")),
    actionButton(t("device.remove"), async () => {
      await store.remove(identity.keyId);
      app.go("records");
    }, { question: t("device.remove-question"), kind: "danger" }),
    h("h2", {}, t("device.more")),
    h("p", {}, h("a", { class: "button", href: "#enrol" }, t("device.add"))),
  );
}

/** @param {App} app */
async function keysNow({ session, identity }) {
  const value = await session.state(residentKeysKey(identity.patient));
  return value === null ? [] : decodeResidentKeys(value);
}

/** @param {App} app @param {Uint8Array} id */
async function keyCard(app, id) {
  const { session, identity } = app;
  const value = await session.state(userKey(id));
  if (value === null) throw new Failure("not-proved");
  const { member, roles, validUntilMs } = decodeUserKey(value);
  const mine = toHex(id) === identity.keyId;
  const mayEnd = mine || identity.role === "resident";
  return h(
    "li",
    { class: "card" },
    h("p", { class: "kind" }, mine ? t("device.this-key") : t("device.other-key")),
    definitions([
      [t("device.role"), named("role", roles[0]) ?? roles[0]],
      [t("device.hospital"), session.nameOf(member)],
      [t("device.until"), dateTime(validUntilMs)],
      [t("readers.key"), code(shortKey(id))],
    ]),
    mayEnd && actionButton(t("device.end-key"), () => endKey(app, id, mine), {
      question: t(mine ? "device.end-own-question" : "device.end-question"), kind: "danger",
    }),
  );
}

/** @param {App} app @param {Uint8Array} id @param {boolean} mine */
async function endKey(app, id, mine) {
  const { session, store, identity, go } = app;
  await execute(session, identity, "members", "end_resident_key", [identity.patient, id]);
  const left = await keysNow(app);
  if (left.some((one) => toHex(one) === toHex(id))) throw new Failure("not-proved");
  if (mine) await store.remove(identity.keyId);
  go("device");
}
