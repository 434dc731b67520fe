"use strict";

// Each strip is a viewer: two of its pictures in one place, cut by a slider; zoom and place are shared by all its pictures.
for (const strip of document.querySelectorAll(".strip")) {
  const one = (selector) => strip.querySelector(selector);
  const stage = one(".stage");
  const slider = one("input[type=range]");
  const pictures = [...strip.querySelectorAll(".frame img")];
  const place = { zoom: 1, x: 0, y: 0 };

  const show = () => {
    const view = one(".view").value;
    for (const [side, selector] of [["over", ".left"], ["under", ".right"]]) {
      const picture = pictures[Number(one(selector).value)];
      one(`.${side} img`).src = (view && picture.dataset[view]) || picture.src;
      one(`.${side} img`).alt = picture.alt;
    }
  };
  const cut = (percent) => {
    slider.value = Math.min(100, Math.max(0, percent));
    strip.style.setProperty("--cut", `${slider.value}%`);
  };
  const move = (zoom, x, y) => {
    place.zoom = Math.min(16, Math.max(1, zoom));
    const most = 50 * (place.zoom - 1);
    place.x = Math.min(most, Math.max(-most, x));
    place.y = Math.min(most, Math.max(-most, y));
    strip.style.setProperty("--zoom", place.zoom);
    strip.style.setProperty("--x", `${place.x}%`);
    strip.style.setProperty("--y", `${place.y}%`);
    one(".zoom").textContent = `${place.zoom}x`;
  };
  const scale = (factor) => move(place.zoom * factor, place.x * factor, place.y * factor);

  slider.addEventListener("input", () => cut(slider.value));
  for (const select of strip.querySelectorAll("select")) select.addEventListener("change", show);
  one(".in").addEventListener("click", () => scale(2));
  one(".out").addEventListener("click", () => scale(0.5));
  one(".reset").addEventListener("click", () => move(1, 0, 0));

  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    const box = stage.getBoundingClientRect();
    if (place.zoom > 1 && !event.shiftKey) {
      move(place.zoom, place.x + (100 * event.movementX) / box.width, place.y + (100 * event.movementY) / box.height);
    } else {
      cut((100 * (event.clientX - box.left)) / box.width);
    }
  });
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
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
  cut(50);
  show();
  one(".viewer").hidden = false;
}
