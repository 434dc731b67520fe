// A gallery shows one image of a set: two of its pictures in one place, cut by a slider, and all of them side by side. Zoom,
// place, crop and view are shared by all pictures.
for (const gallery of document.querySelectorAll(".gallery")) {
  const one = (selector) => gallery.querySelector(selector);
  const [stage, slider, list] = [one(".stage"), one("input[type=range]"), one(".image")];
  const strips = new Map([...gallery.querySelectorAll(".strip")].map((strip) => [strip.dataset.image, strip]));
  const metrics = JSON.parse(one(".values").content.textContent);
  const place = { zoom: 1, x: 0, y: 0 };
  const options = (select, texts) => select.replaceChildren(...texts.map(([value, text]) => element("option", { value }, text)));

  const decibels = (text) => text.split(",").map((level) => (level === "" ? null : level / 10));
  const picture = (strip, label) => {
    const tile = [...strip.querySelectorAll(".tile")].find((tile) => tile.dataset.label === label);
    return tile?.querySelector(`.frame[data-crop="${one(".crop").value}"] img`);
  };
  // Above a picture lies what it is compared with; style sheets blend the two.
  const compare = (frame, reference) => {
    frame.querySelector(".reference")?.remove();
    if (reference) frame.append(element("img", { class: "reference", alt: "", src: reference.src }));
  };
  const show = () => {
    const strip = strips.get(list.value);
    for (const other of strips.values()) other.hidden = other !== strip;
    one(".viewer").hidden = !strip;
    if (!strip) return;
    const crops = [...new Set([...strip.querySelectorAll(".frame")].map((frame) => frame.dataset.crop))];
    const crop = crops.includes(one(".crop").value) ? one(".crop").value : crops[0];
    options(one(".crop"), crops.map((name) => [name, name]));
    one(".crop").value = crop;
    const view = one(".view").value;
    for (const blur of gallery.querySelectorAll("feGaussianBlur")) blur.setAttribute("stdDeviation", gallery.dataset.sigma / strip.dataset.side);
    for (const name of ["difference", "low", "high"]) gallery.classList.toggle(name, view.split(" ").includes(name));
    const reference = view ? picture(strip, gallery.dataset.reference) : undefined;
    const metric = metrics[one(".metric").value];
    const wanted = new Set([...gallery.querySelectorAll(".arms input:checked")].map((box) => box.value));
    for (const tile of strip.querySelectorAll(".tile")) {
      tile.hidden = !wanted.has(tile.dataset.label);
      const value = metric?.of[tile.dataset.label]?.[list.value];
      tile.querySelector("figcaption span").textContent = value === undefined ? "" : `${metric.name} ${value.toFixed(metric.digits)}`;
      for (const frame of tile.querySelectorAll(".frame")) {
        frame.hidden = frame.dataset.crop !== crop;
        compare(frame, frame.hidden ? undefined : reference);
      }
    }
    for (const [side, selector] of [["over", ".left"], ["under", ".right"]]) {
      const shown = picture(strip, one(selector).value);
      const frame = one(`.stage .${side}`);
      frame.hidden = !shown;
      if (shown) Object.assign(frame.querySelector("img"), { src: shown.src, alt: shown.alt });
      compare(frame, shown && reference);
    }
    const kinds = new Map([["LR", "lr"], ["HR", "hr"], [one(".right").value, "right"], [one(".left").value, "left"]]);
    const lines = [...strip.querySelectorAll(".tile")]
      .map(({ dataset }) => ({ label: dataset.label, kind: kinds.get(dataset.label), levels: decibels(dataset.spectrum), end: dataset.label === "LR" ? 0.125 : 0.5 }))
      .filter(({ kind }) => kind);
    drawSpectra(one(".spectra svg"), `${list.value}, power spectra`, lines);
  };
  const sort = (first = false) => {
    const metric = metrics[one(".metric").value];
    const values = metric?.of[one(".of").value];
    const sign = Number(one(".order").value) * (metric?.higher ? -1 : 1);
    const worth = (image) => values?.[image] ?? sign * Infinity;
    const found = [...strips.keys()].filter((image) => image.toLowerCase().includes(one(".find").value.trim().toLowerCase()));
    if (values) found.sort((a, b) => (worth(a) === worth(b) ? 0 : sign * (worth(a) - worth(b))));
    const before = list.value;
    options(list, found.map((image) => [image, values?.[image] === undefined ? image : `${image}  ${values[image].toFixed(metric.digits)}`]));
    list.value = found.includes(before) && !first ? before : found[0] ?? "";
    one(".count").textContent = `${found.length} of ${strips.size} images`;
    show();
  };
  const measure = () => {
    const names = Object.keys(metrics[one(".metric").value]?.of ?? {});
    const before = one(".of").value;
    options(one(".of"), [["", "name"], ...names.map((name) => [name, name])]);
    one(".of").value = names.includes(before) ? before : "";
    sort();
  };
  const cut = (percent) => {
    slider.value = Math.min(100, Math.max(0, percent));
    gallery.style.setProperty("--cut", `${slider.value}%`);
  };
  const move = (zoom, x, y) => {
    place.zoom = Math.min(16, Math.max(1, zoom));
    const most = 50 * (place.zoom - 1);
    place.x = Math.min(most, Math.max(-most, x));
    place.y = Math.min(most, Math.max(-most, y));
    gallery.style.setProperty("--zoom", place.zoom);
    gallery.style.setProperty("--x", `${place.x}%`);
    gallery.style.setProperty("--y", `${place.y}%`);
    one(".zoom").textContent = `${place.zoom}x`;
  };
  const scale = (factor) => move(place.zoom * factor, place.x * factor, place.y * factor);
  const open = () => {
    const strip = location.hash && gallery.querySelector(`.strip[id="${CSS.escape(location.hash.slice(1))}"]`);
    if (!strip) return;
    one(".find").value = "";
    sort();
    list.value = strip.dataset.image;
    show();
    one(".viewer").scrollIntoView();
  };

  options(one(".metric"), metrics.map(({ name }, number) => [number, name]));
  one(".metric").addEventListener("change", measure);
  one(".find").addEventListener("input", () => sort());
  for (const name of [".of", ".order"]) one(name).addEventListener("change", () => sort(true));
  for (const name of [".image", ".left", ".right", ".crop", ".view", ".arms"]) one(name).addEventListener("change", show);
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("a")?.hash === location.hash) open();
  });
  slider.addEventListener("input", () => cut(slider.value));
  one(".in").addEventListener("click", () => scale(2));
  one(".out").addEventListener("click", () => scale(0.5));
  one(".reset").addEventListener("click", () => move(1, 0, 0));

  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  gallery.addEventListener("pointermove", (event) => {
    const frame = event.target.closest(".stage, .frame");
    if (!event.buttons || !frame) return;
    const box = frame.getBoundingClientRect();
    if (place.zoom > 1 && !event.shiftKey) {
      move(place.zoom, place.x + (100 * event.movementX) / box.width, place.y + (100 * event.movementY) / box.height);
    } else if (frame === stage) {
      cut((100 * (event.clientX - box.left)) / box.width);
    }
  });
  gallery.addEventListener("dragstart", (event) => event.preventDefault());
  gallery.addEventListener("wheel", (event) => {
    if (!event.ctrlKey || !event.target.closest(".stage, .frame")) return;
    event.preventDefault();
    scale(event.deltaY < 0 ? 2 : 0.5);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const keys = {
      "+": () => scale(2),
      "-": () => scale(0.5),
      0: () => move(1, 0, 0),
      "[": () => cut(Number(slider.value) - 5),
      "]": () => cut(Number(slider.value) + 5),
      ArrowLeft: () => move(place.zoom, place.x + 10, place.y),
      ArrowRight: () => move(place.zoom, place.x - 10, place.y),
      ArrowUp: () => move(place.zoom, place.x, place.y + 10),
      ArrowDown: () => move(place.zoom, place.x, place.y - 10),
    };
    if (!(event.key in keys) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  one(".chooser").hidden = false;
  cut(50);
  measure();
  open();
}
