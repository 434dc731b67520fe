// The power of some pictures by spatial frequency, as lines that are named at their ends. A line is an array of decibels over
// equal steps of frequency up to `end` cycles a pixel, null where nothing was measured.
const drawSpectra = (svg, title, lines) => {
  const [left, right, top, bottom] = [34, 268, 12, 168];
  const make = (name, attributes, text) => {
    const made = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const values = lines.flatMap(({ levels }) => levels.filter((level) => level !== null));
  const [low, high] = [Math.floor(Math.min(...values) / 20) * 20, Math.ceil(Math.max(...values) / 20) * 20];
  const x = (frequency) => left + ((right - left) * frequency) / 0.5;
  const y = (level) => bottom - ((bottom - top) * (level - low)) / (high - low || 1);
  const middle = ({ levels, end }, place) => ((place + 0.5) * end) / levels.length;
  const parts = [make("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}M${x(0.125)} ${top}V${bottom}` })];
  for (const [frequency, text] of [[0, "0"], [0.125, "1/8"], [0.25, "1/4"], [0.5, "1/2"]]) {
    parts.push(make("text", { x: x(frequency), y: bottom + 12, "text-anchor": "middle" }, text));
  }
  parts.push(make("text", { x: (left + right) / 2, y: bottom + 25, "text-anchor": "middle" }, "cycles per pixel"));
  for (const level of [low, (low + high) / 2, high]) parts.push(make("text", { x: left - 4, y: y(level) + 3, "text-anchor": "end" }, `${level}`));
  parts.push(make("text", { x: left + 4, y: top + 3 }, "dB"));
  for (const line of lines) {
    const points = line.levels.map((level, at) => (level === null ? "" : `${x(middle(line, at)).toFixed(1)} ${y(level).toFixed(1)}`));
    parts.push(make("path", { class: line.kind, d: `M${points.filter(Boolean).join("L")}` }));
  }
  const short = (label) => (label.length > 22 ? `${label.slice(0, 21)}…` : label);
  // One that ends early is named there; the others beside the axes, from the highest on, and none over another.
  let free = top - 12;
  const last = ({ levels }) => levels.findLast((level) => level !== null) ?? low;
  const ends = lines.filter(({ end }) => end === 0.5).sort((one, other) => last(other) - last(one));
  for (const [place, line] of ends.entries()) {
    free = Math.min(Math.max(free + 12, y(last(line))), bottom - 12 * (ends.length - 1 - place));
    parts.push(make("text", { class: line.kind, x: right + 6, y: free + 3 }, short(line.label)));
  }
  for (const line of lines.filter(({ end }) => end < 0.5)) {
    parts.push(make("text", { class: line.kind, x: x(line.end) + 4, y: y(last(line)) - 4 }, short(line.label)));
  }
  const at = (line, frequency) => {
    const level = frequency < line.end ? line.levels[Math.floor((frequency / line.end) * line.levels.length)] : null;
    return level === null ? "" : `${level.toFixed(1)} dB at ${frequency}`;
  };
  const described = lines.map((line) => `${line.label} ${[0.1, 0.25, 0.45].map((frequency) => at(line, frequency)).filter(Boolean).join(", ")}`);
  svg.setAttribute("aria-label", `${title}: ${described.join("; ")} cycles per pixel`);
  svg.replaceChildren(...parts);
};
