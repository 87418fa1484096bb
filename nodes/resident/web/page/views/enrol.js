/**
 * Enrolment: the hospital's one-time code, the digits to compare, the wait for the chain.
 * @module
 */

import { checkBound, enrol } from "../actions.js";
import { field, h } from "../dom.js";
import { explain, isOffline } from "../failures.js";
import { pause } from "../http.js";
import { t } from "../i18n.js";
import { checkDigits } from "../keys.js";
import { actionButton, form } from "../parts.js";
import { enrolmentCode } from "../enrolment.js";
import { codeInput } from "../scan.js";

/** @typedef {import("../store.js").Identity} Identity */

/**
 * @typedef {object} Enrolling
 * @property {import("../store.js").Store} store
 * @property {(chainId: Uint8Array) => Promise<import("../session.js").Session>} sessionOf
 * @property {readonly Identity[]} identities
 * @property {(hash: string) => void} go
 * @property {boolean} begin another key is wanted
 */

const ASK_MS = 1_000;

/** @param {Enrolling} app */
export async function enrolView(app) {
  const waiting = app.identities.find((one) => !one.bound);
  return waiting === undefined ? codeForm(app) : waitPanel(app, waiting);
}

/** @param {Enrolling} app */
function codeForm(app) {
  const { input, nodes } = codeInput(t("enrol.code"), t("enrol.code-hint"));
  const label = h("input", { required: true, maxlength: "40", autocomplete: "off" });
  const act = async () => {
    const code = enrolmentCode(input.value);
    await app.sessionOf(code.chainId); // a gateway of another consortium is found out first
    await enrol(app.store, code, label.value.trim());
    app.go("enrol");
  };
  return h(
    "section",
    {},
    h("h1", {}, t("enrol.title")),
    h("p", {}, t("enrol.intro")),
    h("ol", {}, h("li", {}, t("enrol.step-1")), h("li", {}, t("enrol.step-2")),
      h("li", {}, t("enrol.step-3"))),
    form(
      [
        ...nodes,
        field(t("enrol.label"), label, t("enrol.label-hint")),
      ],
      t("enrol.make"),
      act,
    ),
    h("p", { class: "hint" }, t("enrol.guardian")),
    app.identities.length > 0 && h("p", {}, h("a", { href: "#records" }, t("action.back"))),
  );
}

/** @param {Enrolling} app @param {Identity} identity */
function waitPanel(app, identity) {
  const state = h("p", { role: "status", class: "working" }, t("enrol.waiting"));
  const panel = h(
    "section",
    {},
    h("h1", {}, t("enrol.compare")),
    h("p", {}, t(identity.role === "guardian" ? "enrol.for-guardian" : "enrol.for-resident", {
      label: identity.label, hospital: identity.hospital,
    })),
    h("p", { class: "digits" }, checkDigits(identity.keyId)),
    h("p", {}, t("enrol.compare-hint")),
    state,
    actionButton(t("enrol.give-up"), async () => {
      await app.store.remove(identity.keyId);
      app.go("enrol");
    }, { question: t("enrol.give-up-question") }),
  );
  void watch(app, identity, panel, state);
  return panel;
}

/** Asks the chain until it proves the key, as long as the panel is shown. @param {Enrolling} app @param {Identity} identity @param {Node} panel @param {HTMLElement} state */
async function watch(app, identity, panel, state) {
  do {
    await pause(ASK_MS);
    try {
      const session = await app.sessionOf(identity.chainId);
      if (await checkBound(session, app.store, identity)) return app.go("records");
      state.textContent = t("enrol.waiting");
    } catch (error) {
      state.textContent = explain(error);
      if (!isOffline(error)) return;
    }
  } while (panel.isConnected);
}
