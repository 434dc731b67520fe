"use strict";

const EVERY = 3000;
const one = (selector) => document.querySelector(selector);
const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const row = (head, ...cells) => {
  const made = element("tr");
  made.append(element("th", head, { scope: "row" }), ...cells.map((cell) => (cell instanceof Node ? cell : element("td", cell))));
  return made;
};
const ago = (seconds) => {
  if (seconds === null) return "not begun";
  const [size, unit] = seconds < 90 ? [1, "s"] : seconds < 5400 ? [60, "min"] : [3600, "h"];
  return `${Math.round(seconds / size)} ${unit} ago`;
};
const named = (job) => `${job.stage}: ${job.name}`;
const get = async (name) => {
  const answer = await fetch(name + location.search, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer;
};

// A list is made again only when it changed, so that what a reader has opened or selected stays.
const shown = new Map();
const fill = (selector, content, make) => {
  const text = JSON.stringify(content);
  if (shown.get(selector) === text) return;
  shown.set(selector, text);
  one(selector).replaceChildren(...content.map(make));
};
const line = (job) => {
  const cell = element("td");
  cell.append(job.note ? job.note : element("code", job.lines.at(-1) ?? ""));
  return cell;
};
const failed = (job) => {
  const made = element("details", undefined, { open: "" });
  const log = element("pre", job.lines.join("\n") || "Its log is empty.", { tabindex: "0", role: "region", "aria-label": `End of the log of ${named(job)}` });
  made.append(element("summary", named(job)), element("p", job.log, { class: "faint" }), log);
  return made;
};

const show = (state) => {
  const of = (name) => state.jobs.filter((job) => job.state === name);
  const total = Object.values(state.counts).reduce((sum, count) => sum + count, 0);
  const counts = Object.entries(state.counts).filter(([name, count]) => count && name !== "done").map(([name, count]) => `, ${count} ${name}`);
  const summary = `${state.counts.done} of ${total} jobs done${counts.join("")}`;
  one("#summary").classList.remove("stale");
  if (one("#summary").textContent !== summary) one("#summary").textContent = summary;
  document.title = `${summary} – ${one("h1").textContent}`;
  one("#report").hidden = !state.report;
  one("#failed").hidden = !state.counts.failed;
  one("#unknown").hidden = !state.counts.unknown;
  fill("#failed .list", of("failed").map(({ silent, ...job }) => job), failed);
  for (const name of ["running", "unknown"]) fill(`#${name} tbody`, of(name), (job) => row(named(job), ago(job.silent), line(job)));
  if (!state.counts.running) one("#running tbody").replaceChildren(row("none", "", ""));
  fill("#stages tbody", state.stages, ({ stage, ...count }) => row(stage, ...["done", "running", "failed", "waiting", "unknown"].map((name) => count[name] || "")));
};

// Tables and figures take the server a moment: the page asks for them beside the state, and less often.
const parts = { curves: "", table: "" };
const refresh = async (name) => {
  const html = await (await get(`${name}.html`)).text();
  if (html === parts[name]) return;
  parts[name] = html;
  one(`#${name}`).innerHTML = html;
};
const follow = async (what, every) => {
  for (;;) {
    try {
      if (!document.hidden) await what();
    } catch {
      one("#summary").textContent = "The server does not answer; what is below is as it was.";
      one("#summary").classList.add("stale");
    }
    await new Promise((done) => setTimeout(done, every));
  }
};
one("#report a").search = location.search;
for (const name of Object.keys(parts)) one(`#${name}`).textContent = one(`#${name}`).dataset.empty;
follow(async () => show(await (await get("state.json")).json()), EVERY);
for (const name of Object.keys(parts)) follow(() => refresh(name), 5 * EVERY);
