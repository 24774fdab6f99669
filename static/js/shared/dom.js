// The few ways in which our pages touch the document.

/**
 * The element with this id; throws where the page has none, or one of another class.
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @param {new () => E} [kind]
 * @returns {E}
 */
export function byId(id, kind) {
  return checked(document.getElementById(id), `#${id}`, kind);
}

/**
 * The first element inside `root` that a selector matches; throws as byId does.
 * @template {HTMLElement} [E=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => E} [kind]
 * @returns {E}
 */
export function find(root, selector, kind) {
  return checked(root.querySelector(selector), selector, kind);
}

/**
 * @template {HTMLElement} E
 * @param {Element | null} element
 * @param {string} name
 * @param {new () => E} [kind]
 * @returns {E}
 */
function checked(element, name, kind) {
  const expected = kind ?? HTMLElement;
  if (!(element instanceof expected)) throw new Error(`the page has no ${expected.name} ${name}`);
  return /** @type {E} */ (element);
}

/**
 * Attributes that the page's template must have written.
 * @param {HTMLElement} element
 * @param {string} name of the attribute in `dataset`
 */
export function dataOf(element, name) {
  const value = element.dataset[name];
  if (value === undefined) throw new Error(`#${element.id} has no data for ${name}`);
  return value;
}

/**
 * Data that a template wrote with json_script.
 * @param {string} id
 * @returns {unknown}
 */
export function pageData(id) {
  return JSON.parse(byId(id).textContent);
}

/**
 * Whether the target of an event is inside an element that a selector matches.
 * @param {Event} event
 * @param {string} selector
 */
export function isInside({ target }, selector) {
  return target instanceof Element && target.closest(selector) !== null;
}

/**
 * Writes only what changed, so that a screen reader does not announce it twice.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {HTMLElement} element
 * @param {boolean} shown
 */
export function setShown(element, shown) {
  element.hidden = !shown;
}

/**
 * A new element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} fields
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

/**
 * The value of a custom property, for drawing on a canvas in the page's colours.
 * @param {string} name
 */
export function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
