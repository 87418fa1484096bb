/**
 * From proved fields, which are paths with JSON texts, back to one JSON value.
 * @module
 */

/** @typedef {string | boolean | null | Json[] | {[name: string]: Json}} Json numbers are texts as they were written */
/** @typedef {import("../../light/disclosure.js").RecordField} RecordField */

/** @typedef {{children: Map<string, Branch>, value?: Json}} Branch */

/**
 * The fields as one value; coarser twins of dates (`~year`, `~month`) only where the date is hidden.
 * @param {readonly RecordField[]} fields
 * @returns {Json}
 */
export function treeOf(fields) {
  /** @type {Branch} */
  const root = { children: new Map() };
  const texts = new Map(fields.map(({ path, value }) => [decode(path), decode(value)]));
  for (const [path, text] of texts) {
    const [exact, twin] = path.split("~");
    if (twin && (texts.has(exact) || (twin === "year" && texts.has(`${exact}~month`)))) continue;
    put(root, exact.split("/").slice(1), scalar(text));
  }
  return valueOf(root);
}

/** @param {Branch} root @param {string[]} names @param {Json} value */
function put(root, names, value) {
  let branch = root;
  for (const name of names) {
    let next = branch.children.get(name);
    if (next === undefined) branch.children.set(name, (next = { children: new Map() }));
    branch = next;
  }
  branch.value = value;
}

/** @param {string} text */
function scalar(text) {
  // A number stays as it is written: 1.10 is not 1.1.
  return /^[-0-9]/.test(text) ? text : /** @type {Json} */ (JSON.parse(text));
}

/** @param {Branch} branch @returns {Json} */
function valueOf({ children, value }) {
  if (children.size === 0) return value ?? null;
  const names = [...children.keys()];
  // Not 00100010, which is a DICOM attribute.
  if (names.every((name) => /^(?:0|[1-9][0-9]*)$/.test(name))) {
    names.sort((a, b) => Number(a) - Number(b));
    return names.map((name) => valueOf(/** @type {Branch} */ (children.get(name))));
  }
  // No prototype: a record may name an element `__proto__`.
  /** @type {{[name: string]: Json}} */
  const made = Object.create(null);
  for (const [name, child] of children) made[name] = valueOf(child);
  return made;
}

/** @param {Uint8Array} bytes */
function decode(bytes) {
  return new TextDecoder().decode(bytes);
}

/** @param {Json | undefined} value @returns {{[name: string]: Json} | null} */
export function objectOf(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
}

/** @param {Json | undefined} value @returns {Json[]} */
export function listOf(value) {
  return value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
}

/** @param {Json | undefined} value */
export function textOf(value) {
  return typeof value === "string" ? value : "";
}
