/**
 * Words of the page in the reader's language: lang/en.json and lang/zh.json, one key a text.
 * @module
 */

export const LANGUAGES = ["zh", "en"];
const KEPT = "yilian-language";

/** @type {Readonly<Record<string, string>>} */
let texts = {};
let language = "en";

/** The language that was chosen on this device, else the browser's. */
export function preferredLanguage() {
  const kept = localStorage.getItem(KEPT);
  if (kept !== null && LANGUAGES.includes(kept)) return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function currentLanguage() {
  return language;
}

/** @param {string} wanted one of LANGUAGES */
export async function setLanguage(wanted) {
  const answer = await fetch(`/lang/${wanted}.json`);
  texts = await answer.json();
  language = wanted;
  localStorage.setItem(KEPT, wanted);
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
}

/**
 * The text of `key`, with `{name}` replaced.
 * @param {string} key
 * @param {Readonly<Record<string, string | number | bigint>>} [parameters]
 */
export function t(key, parameters = {}) {
  const text = texts[key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(parameters[name] ?? ""));
}

/**
 * The text of a name of a known set, as the protocol or FHIR spells it; null where there is none.
 * @param {string} group
 * @param {string} name
 * @param {Readonly<Record<string, string | number | bigint>>} [parameters]
 */
export function named(group, name, parameters) {
  const key = `${group}:${name}`;
  return Object.hasOwn(texts, key) ? t(key, parameters) : null;
}

/** Date and time on this device's clock. @param {bigint | number} ms */
export function dateTime(ms) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, {
    dateStyle: "medium",
    timeStyle: "short",
  });
  return format.format(Number(ms));
}

const UNITS = /** @type {const} */ ([
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
]);

/** A length of time in its largest unit. @param {bigint | number} ms */
export function duration(ms) {
  const value = Number(ms);
  const [unit, size] = UNITS.find(([, size]) => value >= size) ?? ["second", 1_000];
  const format = new Intl.NumberFormat(document.documentElement.lang, {
    style: "unit",
    unit,
    unitDisplay: "long",
  });
  return format.format(Math.floor(value / size));
}
