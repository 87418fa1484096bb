/**
 * Pieces that several screens share.
 * @module
 */

import { toHex } from "../light/bytes.js";
import { definitions, h, show } from "./dom.js";
import { explain } from "./failures.js";
import { currentLanguage, dateTime, duration, LANGUAGES, named, setLanguage, t } from "./i18n.js";
import { imageNote, instancesOf, renderStudy, studyTitle } from "./render/dicom.js";
import { renderResource, titleOf } from "./render/fhir.js";
import { objectOf, textOf, treeOf } from "./render/tree.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {import("../light/records.js").VerifiedRecord} VerifiedRecord */
/** @typedef {import("../light/view_rules.js").ViewRules} ViewRules */

export function working() {
  return h("p", { class: "working", role: "status" }, t("app.checking"));
}

/** @param {string} text @param {() => void} again @param {...Child} more what else the person may do */
export function failurePanel(text, again, ...more) {
  return h(
    "section",
    { class: "failure", role: "alert" },
    h("h1", {}, t("failure.title")),
    h("p", {}, text),
    h("p", {}, t("failure.nothing-shown")),
    h("button", { type: "button", onclick: () => again() }, t("action.again")),
    ...more,
  );
}

/** @param {() => void} changed */
export function languageButton(changed) {
  const other = LANGUAGES.find((one) => one !== currentLanguage()) ?? "en";
  const lang = other === "zh" ? "zh-CN" : "en";
  const label = other === "zh" ? "中文" : "English";
  const click = async () => {
    await setLanguage(other);
    changed();
  };
  return h("button", { type: "button", class: "language", lang, onclick: () => void click() }, label);
}

/**
 * A form that acts once at a time and says below its button what came of it.
 * @param {readonly Child[]} fields
 * @param {string} label of its button
 * @param {() => Promise<void>} act
 */
export function form(fields, label, act) {
  const outcome = h("p", { class: "outcome", role: "status" });
  const button = h("button", { type: "submit", class: "primary" }, label);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    await once(button, outcome, act);
  };
  return h("form", { onsubmit: (event) => void submit(event) }, ...fields, button, outcome);
}

/**
 * A button that acts, after a question where one is given.
 * @param {string} label
 * @param {() => Promise<void>} act
 * @param {{question?: string, kind?: string}} [options]
 */
export function actionButton(label, act, { question, kind } = {}) {
  const outcome = h("span", { class: "outcome", role: "status" });
  const button = h("button", { type: "button", class: kind ?? "" }, label);
  button.addEventListener("click", () => {
    if (question === undefined || confirm(question)) void once(button, outcome, act);
  });
  return h("div", { class: "action" }, button, outcome);
}

/** @param {HTMLButtonElement} button @param {HTMLElement} outcome @param {() => Promise<void>} act */
async function once(button, outcome, act) {
  if (button.disabled) return;
  button.disabled = true;
  outcome.classList.remove("failed");
  show(outcome, t("app.working"));
  try {
    await act();
    show(outcome);
  } catch (error) {
    outcome.classList.add("failed");
    show(outcome, explain(error));
  } finally {
    button.disabled = false;
  }
}

/**
 * What was verified, against which height, and how old it is.
 * @param {string} statement
 * @param {{height: bigint, timeMs: bigint, hash: Uint8Array}} header
 * @param {bigint} ageMs
 * @param {boolean} kept
 * @param {readonly (readonly [string, string])[]} [more]
 */
export function proofBox(statement, header, ageMs, kept, more = []) {
  return h(
    "section",
    { class: kept ? "proof kept" : "proof" },
    h("h2", {}, t("proof.title")),
    h("p", { class: "checked" }, statement),
    kept && h("p", { class: "warning" }, t("proof.kept", { age: duration(ageMs) })),
    h("p", {}, t("proof.at", {
      height: header.height, time: dateTime(header.timeMs), age: duration(ageMs),
    })),
    h(
      "details",
      {},
      h("summary", {}, t("proof.details")),
      definitions([[t("proof.header"), code(toHex(header.hash))], ...more]),
    ),
  );
}

/** @param {string} text */
export function code(text) {
  return h("code", {}, text);
}

/** A key id that is short enough to compare. @param {Uint8Array} keyId */
export function shortKey(keyId) {
  return toHex(keyId).slice(0, 12);
}

/** @param {VerifiedRecord} record */
export function describe(record) {
  const tree = treeOf(record.fields);
  const instances = instancesOf(tree);
  if (instances !== null) {
    return { tree, instances, kind: "ImagingStudy", title: studyTitle(instances) };
  }
  const resource = objectOf(tree) ?? {};
  return { tree, instances, kind: textOf(resource.resourceType), title: titleOf(resource) };
}

/** @param {string} kind */
export function kindName(kind) {
  return named("kind", kind) ?? (kind || t("kind.unknown"));
}

/**
 * A verified record: its content, then what is hidden of it and by which rule.
 * @param {VerifiedRecord} record
 * @param {ViewRules} rules those by which the record was verified
 * @param {readonly Uint8Array[]} attachments
 */
export function recordBody(record, rules, attachments) {
  const { tree, instances } = describe(record);
  const body = instances !== null ? renderStudy(instances, attachments)
    : renderResource(objectOf(tree) ?? {});
  const note = instances === null && attachments.length > 0;
  return h(
    "div",
    {},
    body,
    note && h("p", { class: "hint" }, imageNote(attachments.length, 0)),
    hiddenBox(record, rules),
  );
}

/** @param {VerifiedRecord} record @param {ViewRules} rules */
function hiddenBox({ hiddenCount, hidingRules }, rules) {
  const { view, version } = rules;
  const what = { rule: named("view", view) ?? view, name: view, version };
  if (hiddenCount === 0) {
    return h("p", { class: "hidden none" }, t("hidden.none", what));
  }
  // Which of several rules hid a field is told by the field's path, which is hidden too.
  const one = hidingRules.length === 1;
  return h(
    "section",
    { class: "hidden" },
    h("h2", {}, t("hidden.title")),
    h("p", { class: "blocks", "aria-hidden": "true" }, "█████ ███ ██████"),
    h("p", {}, t("hidden.some", { count: hiddenCount, ...what })),
    h("p", {}, t(one ? "hidden.by-rule" : "hidden.by-rules")),
    definitions(hidingRules.map((id) => [id, ruleText(rules, id)])),
    h("p", { class: "hint" }, t("hidden.proved")),
  );
}

/** What a rule hides, as its verified file says. @param {ViewRules} rules @param {string} id */
function ruleText({ texts }, id) {
  const languages = texts.get(id);
  return languages?.get(currentLanguage()) ?? languages?.get("en") ?? "";
}
