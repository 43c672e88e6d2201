// Small helpers to build HTML and SVG elements.

/** Make an HTML element: h("p", {class: "note"}, "text", child). Attributes that are null are left out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element in the same way. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** A line of text in a plot. */
export function label(classes, x, y, text) {
  return svg("text", { class: classes, x, y }, text);
}

let counter = 0;

/** An id that no other element of the page has. */
export function freshId() {
  counter += 1;
  return `lk-${counter}-${Math.random().toString(36).slice(2, 8)}`;
}

/** Set an attribute or text only when it differs, so that the browser does nothing for what stays. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
