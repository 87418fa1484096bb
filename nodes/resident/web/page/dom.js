/**
 * Building the page: elements whose texts are always text, never markup.
 * @module
 */

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {Record<string, string | boolean | ((event: Event) => void) | undefined>} Properties */

/**
 * An element. `on...` properties are event handlers, the others attributes; `true` is an attribute
 * without a value, `false` and `undefined` none.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (typeof value === "string") made.setAttribute(name, value);
  }
  made.append(...present(children));
  return made;
}

/** @param {readonly Child[]} children @returns {(Node | string)[]} */
export function present(children) {
  return /** @type {(Node | string)[]} */ (
    children.filter((child) => child !== null && child !== undefined && child !== false)
  );
}

/** @param {ParentNode & Node} parent @param {...Child} children */
export function show(parent, ...children) {
  parent.replaceChildren(...present(children));
}

/**
 * A labelled field of a form.
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {string} [hint]
 */
export function field(label, input, hint) {
  const id = `field-${++fields}`;
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
  );
}

let fields = 0;

/** @param {readonly (readonly [value: string, label: string])[]} options @param {string} [chosen] */
export function select(options, chosen) {
  return h(
    "select",
    {},
    ...options.map(([value, label]) => h("option", { value, selected: value === chosen }, label)),
  );
}

/** Terms and what they are. @param {readonly (readonly [string, Child])[]} pairs */
export function definitions(pairs) {
  return h(
    "dl",
    {},
    ...pairs.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
  );
}
