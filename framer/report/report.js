"use strict";

const element = (name, attributes, text) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
// The next of `count` places for a key, from place `at` on; undefined for a key that does not move.
const moved = (key, at, count) =>
  ({ ArrowLeft: (at + count - 1) % count, ArrowRight: (at + 1) % count, Home: 0, End: count - 1 })[key];

// Protocols in tabs. A protocol is chosen in all sections at once; what belongs to none is always seen.
const tabLists = [];
const choose = (protocol) => {
  for (const tabs of tabLists) {
    if (!tabs.some(({ tab }) => tab.textContent === protocol)) continue;
    for (const { tab, panel } of tabs) {
      const chosen = tab.textContent === protocol;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      panel.hidden = !chosen;
    }
  }
};
for (const [number, protocols] of document.querySelectorAll(".protocols").entries()) {
  const panels = [...protocols.querySelectorAll(".panel[data-protocol]")];
  if (panels.length < 2) continue;
  const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Protocol" });
  const tabs = panels.map((panel, place) => {
    const name = panel.dataset.protocol;
    const id = `tab-${number}-${place}`;
    const tab = element("button", { type: "button", role: "tab", id, "aria-controls": `${id}-panel` }, name);
    for (const [key, value] of Object.entries({ role: "tabpanel", id: `${id}-panel`, "aria-labelledby": id })) panel.setAttribute(key, value);
    tab.addEventListener("click", () => choose(name));
    tab.addEventListener("keydown", (event) => {
      const next = moved(event.key, place, panels.length);
      if (next === undefined) return;
      event.preventDefault();
      choose(panels[next].dataset.protocol);
      list.children[next].focus();
    });
    list.append(tab);
    return { tab, panel };
  });
  protocols.prepend(list);
  tabLists.push(tabs);
  choose(panels[0].dataset.protocol);
}

// What is behind a number is seen where the pointer rests or the focus is, and is its accessible description. A table is
// one stop of the Tab key; arrow keys lead from number to number, Escape hides what is seen.
const about = element("div", { class: "about", role: "tooltip", id: "about" });
about.hidden = true;
document.body.append(about);
let described = null;
const hush = () => {
  about.hidden = true;
  described?.removeAttribute("aria-describedby");
};
const describe = (cell) => {
  hush();
  described = cell;
  cell.setAttribute("aria-describedby", "about");
  about.textContent = cell.dataset.about;
  about.hidden = false;
  const [at, size] = [cell.getBoundingClientRect(), about.getBoundingClientRect()];
  const below = at.bottom + 4 + size.height <= innerHeight;
  about.style.left = `${Math.max(4, Math.min(at.left, document.documentElement.clientWidth - size.width - 4))}px`;
  about.style.top = `${below ? at.bottom + 4 : Math.max(4, at.top - size.height - 4)}px`;
};
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });
document.addEventListener("scroll", () => {
  const cell = document.activeElement;
  if (!about.hidden && cell === described) describe(cell);
  else hush();
}, { capture: true, passive: true });
for (const table of document.querySelectorAll(".protocols table")) {
  const rows = [...table.rows].map((row) => [...row.querySelectorAll("[title]")]).filter((row) => row.length);
  const cells = rows.flat();
  for (const cell of cells) {
    cell.dataset.about = cell.title;
    cell.removeAttribute("title");
    cell.tabIndex = cell === cells[0] ? 0 : -1;
    cell.addEventListener("pointerenter", () => describe(cell));
    cell.addEventListener("pointerleave", (event) => { if (event.relatedTarget !== about) hush(); });
    cell.addEventListener("focus", () => {
      for (const other of cells) other.tabIndex = other === cell ? 0 : -1;
      describe(cell);
    });
    cell.addEventListener("blur", hush);
  }
  table.addEventListener("keydown", (event) => {
    const row = rows.findIndex((of) => of.includes(event.target));
    if (row < 0) return;
    const place = rows[row].indexOf(event.target);
    const other = { ArrowUp: rows[row - 1], ArrowDown: rows[row + 1] }[event.key];
    const next = other ? other.find((cell) => cell.cellIndex >= event.target.cellIndex) ?? other.at(-1) : rows[row][moved(event.key, place, rows[row].length)];
    if (!next) return;
    event.preventDefault();
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}
about.addEventListener("pointerleave", hush);

// Each table as text for the clipboard.
const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
};
for (const copies of document.querySelectorAll(".copies")) {
  const said = element("output", {});
  const buttons = [...copies.querySelectorAll("template")].map((template) => {
    const kind = template.dataset.kind;
    const title = copies.previousElementSibling.getAttribute("aria-label");
    const button = element("button", { type: "button", "aria-label": `Copy as ${kind}: ${title}` }, `Copy as ${kind}`);
    button.addEventListener("click", async () => {
      const done = await copy(template.content.textContent);
      said.textContent = done ? `${kind} copied` : "This browser does not allow it";
      button.focus();
    });
    return button;
  });
  copies.append(...buttons, said);
}

