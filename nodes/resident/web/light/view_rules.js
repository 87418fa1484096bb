/**
 * Rules of a view as data: which fields of a record a reader is shown, and which rule hid others.
 *
 * A rule file is JSON, and the chain holds its hash; `ledger/light/view_rules.py` says what stands in
 * it. The first rule that names a path decides.
 * @module
 */

import { concat, toHex, utf8 } from "./bytes.js";
import { VIEWS } from "./entries.js";
import { NotCanonical, TooLarge } from "./errors.js";
import { hashTagged } from "./hashing.js";
import { parseJson } from "./json.js";
import { RULES_BYTES_MAX } from "./limits.js";

/** @typedef {import("./json.js").Json} Json */
/** @typedef {import("./disclosure.js").RecordField} RecordField */
/** @typedef {ReadonlyMap<string, Uint8Array>} Fields values by their paths in hexadecimal */

/**
 * What a view does with one path, and the rule that says so.
 * @typedef {object} Decision
 * @property {string} rule
 * @property {string} action "show", "hide" or "year"
 * @property {string} form that a shown value must have; empty for any
 */

/** @typedef {{id: string, kinds: ReadonlySet<string>, action: string, paths: readonly PathRule[]}} Rule */
/** @typedef {{path: string, pattern: RegExp, form: string}} PathRule */

export const DICOM = "DICOM";
const WHAT = "view rules";
const SHOW = "show", HIDE = "hide", YEAR = "year";
const SYSTEM_FORM = "system", CODE_FORM = "code";
const BAND = '"90 or older"';
const TWINS = ["year", "month", "band"];
const TILDE = "~".charCodeAt(0), SLASH = "/".charCodeAt(0);
const INDEX = /\/[0-9]{1,7}(?=\/|$)/gu;
const DATE = /^"[0-9]{4}(?:-[0-9]{2})?"$/u;
const RESOURCE_TYPE = toHex(utf8("/resourceType"));
const DECISIONS_MAX = 65_536;

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

/** One rule file, decoded. */
export class ViewRules {
  /** @type {Map<string, Decision>} */
  #decisions = new Map();

  /**
   * @param {string} view
   * @param {bigint} version
   * @param {Uint8Array} hash H("view-rules", bytes of the file): what the chain holds
   * @param {ReadonlyMap<string, ReadonlyMap<string, string>>} texts
   *   id of each rule that hides, to language, to what it hides, for people
   * @param {{rules: readonly Rule[], otherwise: Decision, forms: ReadonlyMap<string, RegExp>,
   *   terms: ReadonlyMap<string, RegExp>, never: readonly RegExp[]}} content
   */
  constructor(view, version, hash, texts, content) {
    this.view = view;
    this.version = version;
    this.hash = hash;
    this.texts = texts;
    this.content = content;
  }

  /** Throws NotCanonical or TooLarge for a file that is no rule file. @param {Uint8Array} data */
  static decode(data) {
    if (data.length > RULES_BYTES_MAX) throw new TooLarge(WHAT, data.length, RULES_BYTES_MAX);
    try {
      return decoded(data);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error;
      throw new NotCanonical(WHAT, "they are malformed");
    }
  }

  /** What happens to the exact value at `path`. @param {string} kind @param {Uint8Array} path */
  decide(kind, path) {
    const plain = lenient.decode(path).replace(INDEX, "");
    const name = `${kind}\n${plain}`;
    let decision = this.#decisions.get(name);
    if (decision === undefined) {
      decision = firstOf(this.content.rules, kind, plain) ?? this.content.otherwise;
      if (this.#decisions.size >= DECISIONS_MAX) this.#decisions.clear();
      this.#decisions.set(name, decision);
    }
    return decision;
  }

  /** Whether a field is shown; `path` may be that of a twin. @param {string} kind @param {Uint8Array} path */
  shows(kind, path) {
    const { exact, twin } = split(path);
    const { action } = this.decide(kind, exact);
    if (twin === "" || action === HIDE) return action === SHOW;
    return TWINS.includes(twin) && (action === SHOW || twin !== "month");
  }

  /** Ids of the rules that can hide something of a record of `kind`, in order. @param {string} kind */
  hiding(kind) {
    /** @type {Set<string>} */
    const found = new Set();
    for (const rule of this.content.rules) {
      if (!isFor(rule, kind)) continue;
      if (rule.action !== SHOW) found.add(rule.id);
      // Nothing comes to the rules below.
      if (rule.paths.some(({ path }) => path === "**")) return [...found];
    }
    if (this.content.otherwise.action === HIDE) found.add(this.content.otherwise.rule);
    return [...found];
  }

  /**
   * Whether the value at a shown `path` has the form that its rule asks for. `fields` are all of the
   * record that are shown: a code is judged by its system.
   * @param {string} kind
   * @param {Uint8Array} path
   * @param {Fields} fields
   */
  allows(kind, path, fields) {
    const { exact, twin } = split(path);
    const { form } = this.decide(kind, exact);
    const value = lenient.decode(fields.get(toHex(path)));
    if (twin !== "") return twin === "band" ? value === BAND : DATE.test(value);
    if (form === "") return true;
    if (this.content.never.some((pattern) => pattern.test(value))) return false;
    if (form === SYSTEM_FORM) return this.#codesOf(value) !== undefined;
    if (form === CODE_FORM) {
      const parent = exact.subarray(0, Math.max(0, exact.lastIndexOf(SLASH)));
      const system = fields.get(toHex(concat(parent, utf8("/system"))));
      return this.#codesOf(lenient.decode(system))?.test(inner(value)) === true;
    }
    return this.content.forms.get(form)?.test(value) === true;
  }

  /** What codes of a code system look like, given its JSON text. @param {string} system */
  #codesOf(system) {
    const name = inner(system);
    const parent = name.slice(0, Math.max(0, name.lastIndexOf("/")));
    return this.content.terms.get(name) ?? this.content.terms.get(`${parent}/*`);
  }
}

/** Values by their paths. @param {readonly RecordField[]} fields @returns {Fields} */
export function byPath(fields) {
  return new Map(fields.map(({ path, value }) => [toHex(path), value]));
}

/** Kind of the record that has these fields: its resource type, or DICOM. @param {Fields} fields */
export function kindOf(fields) {
  const value = fields.get(RESOURCE_TYPE);
  return value === undefined ? DICOM : lenient.decode(value).replace(/^"+|"+$/g, "");
}

/** The path of the exact value, and the name of the twin or "". @param {Uint8Array} path */
export function split(path) {
  const at = path.indexOf(TILDE);
  if (at < 0) return { exact: path, twin: "" };
  return { exact: path.subarray(0, at), twin: lenient.decode(path.subarray(at + 1)) };
}

/** Without its first and last character. @param {string} text */
function inner(text) {
  return Array.from(text).slice(1, -1).join("");
}

/** @param {Rule} rule @param {string} kind */
function isFor({ kinds }, kind) {
  return kinds.has(kind) || (kinds.has("*") && kind !== DICOM);
}

/** @param {readonly Rule[]} rules @param {string} kind @param {string} path @returns {Decision | null} */
function firstOf(rules, kind, path) {
  for (const rule of rules) {
    const found = isFor(rule, kind) && rule.paths.find(({ pattern }) => pattern.test(path));
    if (found) return { rule: rule.id, action: rule.action, form: found.form };
  }
  return null;
}

/** @param {Uint8Array} data */
function decoded(data) {
  const file = object(parseJson(strict.decode(data)));
  const view = text(file.get("view")), version = file.get("version");
  if (!VIEWS.includes(view) || typeof version !== "bigint" || version < 1n) {
    throw new TypeError("view or version");
  }
  const shapes = mapped(file.get("shapes"), (parts) => array(parts).map(text));
  const forms = mapped(file.get("forms"), (form) => whole(compiled(form)));
  const terms = mapped(file.get("terms"), (codes) => whole(compiled(codes)));
  const parts = file.has("never") ? array(file.get("never")) : [];
  const never = parts.map((part) => new RegExp(compiled(part), "u"));
  const texts = mapped(required(file, "texts"), (languages) => mapped(languages, text));
  const rules = array(file.get("rules")).map((item) => ruleOf(object(item), shapes));
  const last = object(file.get("otherwise"));
  const otherwise = { rule: text(last.get("id")), action: actionOf(last.get("action")), form: "" };
  const known = new Set(["", SYSTEM_FORM, CODE_FORM, ...forms.keys()]);
  if (rules.some(({ paths }) => paths.some(({ form }) => !known.has(form)))) {
    throw new TypeError("a form that is not there");
  }
  const hiding = new Set(rules.filter(({ action }) => action !== SHOW).map(({ id }) => id));
  if (otherwise.action !== SHOW) hiding.add(otherwise.rule);
  if (hiding.size !== texts.size || [...hiding].some((id) => !texts.has(id))) {
    throw new TypeError("a text for each rule that hides, and no other");
  }
  const content = { rules, otherwise, forms, terms, never };
  return new ViewRules(view, version, hashTagged("view-rules", data), texts, content);
}

/** @param {ReadonlyMap<string, Json>} item @param {ReadonlyMap<string, string[]>} shapes @returns {Rule} */
function ruleOf(item, shapes) {
  const paths = array(item.get("paths")).flatMap((entry) => expanded(text(entry), shapes));
  return {
    id: text(item.get("id")),
    kinds: new Set(array(item.get("kinds")).map(text)),
    action: actionOf(item.get("action")),
    paths,
  };
}

/**
 * Of `path`, `path:form`, or each part of `path:shape`.
 * @param {string} entry
 * @param {ReadonlyMap<string, string[]>} shapes
 * @param {number} depth
 * @returns {PathRule[]}
 */
function expanded(entry, shapes, depth = 0) {
  if (depth > shapes.size) throw new TypeError("a shape that holds itself");
  const at = entry.indexOf(":");
  const path = at < 0 ? entry : entry.slice(0, at);
  const name = at < 0 ? "" : entry.slice(at + 1);
  const parts = shapes.get(name);
  if (parts === undefined) return [{ path, pattern: patternOf(path), form: name }];
  return parts.flatMap((part) => expanded(`${path}/${part}`, shapes, depth + 1));
}

/** @param {string} path */
function patternOf(path) {
  const parts = path.split("/").map((name) => {
    const escaped = name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    return name === "**" ? "(?:/[^/]+)*" : `/${escaped.replaceAll("\\*", "[^/]*")}`;
  });
  return whole(parts.join(""));
}

/** Matches a whole text. @param {string} pattern */
function whole(pattern) {
  return new RegExp(`^(?:${pattern})$`, "u");
}

const PART = /\\[^]|\[\^?\]?(?:\\[^]|[^\]\\])*\]|[.$]/gu;

/** What a regular expression of Python is in JavaScript. @param {Json | undefined} pattern */
function compiled(pattern) {
  const made = text(pattern).replace(PART, (part) => {
    if (part === ".") return "[^\\n]";
    if (part === "$") return "(?=\\n?$)";
    // In Python a bracket at the beginning of a class stands for itself.
    return part.replace(/^(\[\^?)\]/, "$1\\]");
  });
  if (/\\[sSZA]/.test(made)) throw new SyntaxError("not the same in both languages");
  // In a group of its own, so that no part of it reaches out of it.
  return new RegExp(made, "u").source;
}

/** @param {Json | undefined} name */
function actionOf(name) {
  const action = text(name);
  if (![SHOW, HIDE, YEAR].includes(action)) throw new TypeError("an action that is not there");
  return action;
}

/** @param {ReadonlyMap<string, Json>} file @param {string} name */
function required(file, name) {
  if (!file.has(name)) throw new TypeError("a part is missing");
  return file.get(name);
}

/** @param {Json | undefined} value */
function object(value) {
  if (!(value instanceof Map)) throw new TypeError("an object is wanted");
  return value;
}

/** @param {Json | undefined} value */
function array(value) {
  if (!Array.isArray(value)) throw new TypeError("an array is wanted");
  return value;
}

/** @param {Json | undefined} value */
function text(value) {
  if (typeof value !== "string") throw new TypeError("a text is wanted");
  return value;
}

/**
 * An object with each value converted; empty where there is none.
 * @template T
 * @param {Json | undefined} value
 * @param {(item: Json) => T} convert
 * @returns {Map<string, T>}
 */
function mapped(value, convert) {
  const items = value === undefined ? [] : [...object(value)];
  return new Map(items.map(([name, item]) => [name, convert(item)]));
}
