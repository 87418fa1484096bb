/**
 * Checking the ledger: against a printed checkpoint, and against a second hospital's server.
 * @module
 */

import { toHex } from "../../light/bytes.js";
import { definitions, field, h, select, show } from "../dom.js";
import { explain, Failure } from "../failures.js";
import { dateTime, duration, t } from "../i18n.js";
import { code, form } from "../parts.js";
import { codeInput } from "../scan.js";
import { checkPrinted, compareWith, ForkFound, otherHospitals } from "../witnesses.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../../light/trust.js").TrustedChain} TrustedChain */

/** It asks nothing before it is told to, so it is there where all else fails. @param {App} app */
export async function checkView({ session }) {
  return h(
    "section",
    {},
    h("p", {}, h("a", { href: "#device" }, t("action.back"))),
    h("h1", {}, t("check.title")),
    h("p", {}, t("check.intro")),
    h("h2", {}, t("check.printed")),
    h("p", {}, t("check.printed-intro")),
    ...printedForm(session),
    h("h2", {}, t("check.witness")),
    h("p", {}, t("check.witness-intro")),
    ...witnessForm(session),
  );
}

/** @param {App["session"]} session */
function printedForm(session) {
  const found = h("div", { role: "status" });
  const { input, nodes } = codeInput(t("check.code"), t("check.code-hint"));
  const act = async () => {
    show(found);
    const { printed, newest } = await checkPrinted(session, input.value);
    show(found, agreement(
      t("check.printed-agrees", { height: printed.height, time: dateTime(printed.timeMs) }),
      [[t("proof.header"), code(toHex(printed.headerHash))], newestOf(session, newest)],
    ));
  };
  return [form(nodes, t("check.compare-printed"), act), found];
}

/** @param {App["session"]} session */
function witnessForm(session) {
  const others = otherHospitals(session);
  if (others.length === 0) return [h("p", { class: "hint" }, t("check.no-witness"))];
  const found = h("div", { role: "status" });
  const who = select(others.map((member) => [member.id, member.name]));
  const act = async () => {
    show(found);
    const other = others.find((member) => member.id === who.value);
    if (other === undefined) throw new Failure("witness-silent", { hospital: who.value });
    try {
      show(found, witnessPanel(session, await compareWith(session, other)));
    } catch (error) {
      if (!(error instanceof ForkFound)) throw error;
      show(found, forkPanel(error));
    }
  };
  return [form([field(t("check.hospital"), who)], t("check.compare-witness"), act), found];
}

/** @param {App["session"]} session @param {Awaited<ReturnType<typeof compareWith>>} compared */
function witnessPanel(session, { agreed, heard }) {
  const [own, other] = heard.map(({ hospital }) => session.nameOf(hospital));
  return agreement(
    t("check.witness-agrees", { own, other, height: agreed.height }),
    [
      [t("proof.header"), code(toHex(agreed.headerHash))],
      ...heard.map(({ hospital, newest }) =>
        newestOf(session, newest, t("check.newest-of", { hospital: session.nameOf(hospital) }))),
    ],
  );
}

/**
 * @param {App["session"]} session
 * @param {TrustedChain} newest
 * @param {string} [term]
 * @returns {[string, string]}
 */
function newestOf(session, { height, timeMs }, term = t("check.newest")) {
  const past = session.now() - timeMs;
  return [term, t("check.newest-at", { height, age: duration(past > 0n ? past : 0n) })];
}

/** @param {string} statement @param {Parameters<typeof definitions>[0]} compared */
function agreement(statement, compared) {
  return h(
    "section",
    { class: "proof" },
    h("h2", {}, t("check.compared")),
    h("p", { class: "checked" }, statement),
    definitions(compared),
  );
}

/** @param {ForkFound} fork */
function forkPanel(fork) {
  const file = new Blob([new Uint8Array(fork.evidence)], { type: "application/octet-stream" });
  const href = URL.createObjectURL(file);
  return h(
    "section",
    { class: "failure", role: "alert" },
    h("h2", {}, t("check.forked")),
    h("p", {}, explain(fork)),
    h("p", {}, h("a", { class: "button", href, download: "yilian-fork.bin" }, t("check.evidence"))),
  );
}
