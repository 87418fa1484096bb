/**
 * A FHIR resource as a person reads it: what was found first, technical parts folded away.
 * @module
 */

import { definitions, h } from "../dom.js";
import { named, t } from "../i18n.js";
import { listOf, objectOf, textOf } from "./tree.js";

/** @typedef {import("./tree.js").Json} Json */
/** @typedef {{[name: string]: Json}} Resource */
/** @typedef {import("../dom.js").Child} Child */

const FIRST = [
  "code", "vaccineCode", "medicationCodeableConcept", "medicationReference", "type", "status",
  "clinicalStatus", "verificationStatus", "category", "class", "intent", "priority", "severity",
];
const TECHNICAL = new Set([
  "id", "meta", "identifier", "extension", "modifierExtension", "implicitRules", "language",
  "contained", "text",
]);
const DATES = [
  "effectiveDateTime", "effectivePeriod", "onsetDateTime", "performedDateTime", "performedPeriod",
  "occurrenceDateTime", "authoredOn", "period", "recordedDate", "issued", "created", "date",
  "started", "birthDate",
];
const DEPTH_MAX = 12;

/** What the record is about, in one line. @param {Resource} resource */
export function titleOf(resource) {
  for (const name of ["code", "vaccineCode", "medicationCodeableConcept", "type"]) {
    const words = listOf(resource[name])
      .map((concept) => conceptText(concept) || textOf(objectOf(concept)?.text))
      .filter(Boolean);
    if (words.length > 0) return words.join(", ");
  }
  return "";
}

/** When it happened, as the record writes it. @param {Resource} resource */
export function dateOf(resource) {
  for (const name of DATES) {
    const value = resource[name];
    const date = textOf(value) || textOf(objectOf(value)?.start);
    if (date !== "") return shortDate(date);
  }
  return "";
}

/** The day, or less where less is said; the hour is not cut from what a record shows elsewhere. @param {string} date */
export function shortDate(date) {
  return date.slice(0, 10);
}

/** @param {Resource} resource */
export function renderResource(resource) {
  const names = Object.keys(resource).filter((name) => name !== "resourceType");
  const place = (/** @type {string} */ name) => (FIRST.indexOf(name) + 1 || FIRST.length + 1);
  const shown = names.filter((name) => !TECHNICAL.has(name));
  shown.sort((a, b) => place(a) - place(b));
  const technical = names.filter((name) => TECHNICAL.has(name));
  return h(
    "div",
    { class: "record" },
    pairsOf(resource, shown, 0),
    technical.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, t("record.technical")),
        pairsOf(resource, technical, 0),
      ),
  );
}

/** @param {Resource} resource @param {readonly string[]} names @param {number} depth */
function pairsOf(resource, names, depth) {
  return definitions(names.map((name) => [labelOf(name), render(resource[name], name, depth)]));
}

/** @param {string} name */
export function labelOf(name) {
  const known = named("element", name);
  if (known !== null) return known;
  // valueQuantity, onsetDateTime: the type at the end says nothing to a person.
  const choice = /^(value|onset|effective|performed|occurrence|abatement|deceased|medication)[A-Z]/.exec(name);
  const base = choice ? named("element", choice[1]) : null;
  return base ?? name.replace(/([a-z])([A-Z])/g, "$1 $2");
}

/** @param {Json} value @param {string} name @param {number} depth @returns {Child} */
function render(value, name, depth) {
  if (depth > DEPTH_MAX) return JSON.stringify(value);
  if (Array.isArray(value)) {
    if (value.length === 1) return render(value[0], name, depth);
    return h("ul", {}, ...value.map((item) => h("li", {}, render(item, name, depth + 1))));
  }
  const object = objectOf(value);
  if (object !== null) return renderObject(object, depth);
  if (typeof value === "boolean") return t(value ? "record.yes" : "record.no");
  if (value === null) return "—";
  const text = String(value);
  if (name === "div") return h("p", { class: "prose" }, narrativeText(text));
  return codeWord(name, text) ?? dateText(text);
}

/** Codes that FHIR spells in English. @param {string} name @param {string} text */
function codeWord(name, text) {
  return /^(status|intent|priority|gender|use)$/.test(name) ? named("code", text) : null;
}

/** @param {string} text */
function dateText(text) {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  if (match === null) return text;
  const zone = match[3] === undefined ? "" : match[3] === "Z" ? " UTC" : ` UTC${match[3]}`;
  return `${match[1]} ${match[2]}${zone}`;
}

/** @param {Resource} object @param {number} depth @returns {Child} */
function renderObject(object, depth) {
  if (Object.keys(object).length === 0) return "—";
  const brief = conceptText(object) || quantityText(object) || nameText(object) || spanText(object);
  if (brief) return codeLine(object, brief);
  if ("div" in object) return render(object.div, "div", depth + 1);
  if ("reference" in object) return textOf(object.display) || textOf(object.reference);
  const keys = Object.keys(object);
  if (keys.length === 1 && keys[0] === "text") return textOf(object.text);
  return pairsOf(object, keys, depth + 1);
}

/** The words, and the code behind them in small. @param {Resource} object @param {string} brief */
function codeLine(object, brief) {
  const coding = listOf(object.coding).map(objectOf).filter((one) => one !== null);
  const codes = coding.map((one) => textOf(one.code)).filter((code) => code && code !== brief);
  if (codes.length === 0) return brief;
  return h("span", {}, brief, " ", h("span", { class: "codes" }, codes.join(", ")));
}

/** A CodeableConcept or a Coding in words. @param {Json} value */
export function conceptText(value) {
  const object = objectOf(value);
  if (object === null) return "";
  const coded = "coding" in object || ("system" in object && "code" in object && !("value" in object));
  if (!coded) return "";
  const coding = listOf("coding" in object ? object.coding : object).map(objectOf);
  const displayed = coding.map((one) => textOf(one?.display)).filter(Boolean);
  const codes = coding.map((one) => textOf(one?.code)).filter(Boolean);
  const code = codes[0] ?? "";
  const word = coding.some((one) => textOf(one?.system).startsWith("http://terminology.hl7.org/"))
    ? named("code", code)
    : null;
  return word ?? (textOf(object.text) || displayed[0] || code);
}

/** A quantity or a range of them. @param {Resource} object @returns {string} */
function quantityText(object) {
  if ("low" in object || "high" in object) {
    const ends = [object.low, object.high].map((end) => quantityText(objectOf(end) ?? {}) || "…");
    return ends.join(" – ");
  }
  const value = textOf(object.value);
  if (value === "" || "system" in object && !("unit" in object) && !("code" in object)) return "";
  if (!("unit" in object) && !("code" in object)) return "";
  const unit = textOf(object.unit) || textOf(object.code);
  return `${textOf(object.comparator)}${value} ${unit}`.trim();
}

/** A person's name or an address. @param {Resource} object */
function nameText(object) {
  if ("family" in object || "given" in object) {
    const given = listOf(object.given).map(textOf);
    return textOf(object.text) || [...given, textOf(object.family)].filter(Boolean).join(" ");
  }
  if ("line" in object || "city" in object) {
    const parts = [...listOf(object.line).map(textOf), textOf(object.city), textOf(object.state)];
    return parts.filter(Boolean).join(", ");
  }
  return "";
}

/** @param {Resource} object */
function spanText(object) {
  if (!("start" in object || "end" in object)) return "";
  const [start, end] = [object.start, object.end].map((at) => dateText(textOf(at)));
  return `${start || "…"} – ${end || "…"}`;
}

const ENTITIES = /** @type {Record<string, string>} */ ({
  "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&#39;": "'", "&nbsp;": " ", "&amp;": "&",
});

/** The words of a narrative, which FHIR writes in XHTML; nothing of it becomes markup here. @param {string} xhtml */
function narrativeText(xhtml) {
  return xhtml
    .replace(/<\/?(?:p|div|li|tr|h[1-6]|br)\b[^>]*>/gi, "\n")
    .replace(/<[^>]*>/g, " ")
    .replace(/&(?:lt|gt|quot|apos|#39|nbsp|amp);/g, (entity) => ENTITIES[entity])
    .replace(/[ \t]+/g, " ")
    .replace(/\s*\n\s*/g, "\n")
    .trim();
}
