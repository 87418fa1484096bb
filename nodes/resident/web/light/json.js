/**
 * JSON as rule files are written: no name twice in an object, no number with a point.
 *
 * `JSON.parse` keeps the last of two equal names and cannot be told not to.
 * @module
 */

/** @typedef {null | boolean | bigint | string | Json[] | Map<string, Json>} Json */

const DEPTH_MAX = 100;
const SPACE = /[ \t\n\r]*/y;
const TEXT = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WHOLE = /-?(?:0|[1-9][0-9]*)(?![.eE0-9])/y;
const WORD = /true|false|null/y;
/** @type {Record<string, Json>} */
const WORDS = { true: true, false: false, null: null };

/** Objects become maps; throws SyntaxError. @param {string} text @returns {Json} */
export function parseJson(text) {
  let at = 0;

  /** @param {RegExp} pattern */
  function take(pattern) {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  }

  /** Takes `character` and the space around it, where it comes next. @param {string} character */
  function skip(character) {
    take(SPACE);
    if (text[at] !== character) return false;
    at += 1;
    take(SPACE);
    return true;
  }

  function name() {
    // Of nothing, which is no JSON, a SyntaxError comes.
    return /** @type {string} */ (JSON.parse(take(TEXT) ?? ""));
  }

  /** `one` until `end`, with commas between. @param {string} end @param {() => void} one */
  function list(end, one) {
    if (skip(end)) return;
    do one();
    while (skip(","));
    if (!skip(end)) throw new SyntaxError("a comma or an end is wanted");
  }

  /** @param {number} depth @returns {Json} */
  function value(depth) {
    if (depth > DEPTH_MAX) throw new SyntaxError("too deep");
    if (skip("{")) {
      /** @type {Map<string, Json>} */
      const found = new Map();
      list("}", () => {
        const key = name();
        if (!skip(":") || found.has(key)) throw new SyntaxError("a name twice, or no value");
        found.set(key, value(depth + 1));
      });
      return found;
    }
    if (skip("[")) {
      /** @type {Json[]} */
      const found = [];
      list("]", () => found.push(value(depth + 1)));
      return found;
    }
    if (text[at] === '"') return name();
    const word = take(WORD);
    if (word !== undefined) return WORDS[word];
    const whole = take(WHOLE);
    if (whole === undefined) throw new SyntaxError("a value is wanted");
    return BigInt(whole);
  }

  take(SPACE);
  const found = value(0);
  take(SPACE);
  if (at !== text.length) throw new SyntaxError("more than one value");
  return found;
}
