// The few ways in which our pages touch the document.

export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** Data that a template wrote with json_script. */
export function pageData(id) {
  return JSON.parse(byId(id).textContent);
}

/** Writes only what changed, so that a screen reader is not told twice. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setShown(element, shown) {
  element.hidden = !shown;
}

export function make(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

/** The value of a custom property, for drawing on a canvas in the page's colours. */
export function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
