/* Some inputs one at a time in one viewer, and maps of features: what a finished run's page opens on a click. */
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const make = (parent, name, attributes = {}, text = "") => {
    const node = ["svg", "circle"].includes(name) ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== "") node.textContent = text;
    parent.appendChild(node);
    return node;
  };

  window.pointsmithStrip = (element, props, watch) => {
    const root = element.querySelector(".ps-strip"), bar = element.querySelector(".ps-strip-bar");
    const grid = element.querySelector(".ps-grid-of-inputs"), image = element.querySelector(".ps-strip-image");
    const title = bar.querySelector("h3");
    let viewer = null, at = 0, buttons = [];
    const said = make(bar, "span");
    const step = (text, label, by) => make(bar, "button", { type: "button", "aria-label": label }, text).addEventListener("click", () => show((at + by + buttons.length) % buttons.length));
    step("‹", "Previous input", -1);
    step("›", "Next input", 1);
    make(bar, "button", { type: "button", "data-action": "close" }, "Close").addEventListener("click", () => { root.hidden = true; });

    const show = (i) => {
      const item = props.value.items[i];
      at = i;
      said.textContent = `${i + 1} of ${props.value.items.length}: ${item.name}`;
      const cloud = Boolean(item.view);
      element.querySelector(".ps-view").hidden = !cloud;
      image.hidden = cloud;
      if (cloud) {
        viewer = viewer || window.pointsmithView(element);
        viewer.show(item.view);
      } else { image.src = item.picture; image.alt = item.name; }
      buttons.forEach((one, k) => one.setAttribute("aria-pressed", String(k === i)));
    };

    const update = () => {
      const value = props.value;
      root.hidden = !value || !value.items.length;
      if (root.hidden) return;
      title.textContent = value.title;
      grid.replaceChildren();
      buttons = value.items.map((item, i) => {
        const one = make(grid, "button", { type: "button", title: item.name });
        make(one, "img", { src: item.thumb, alt: "", loading: "lazy" });
        make(one, "span", {}, item.name);
        one.addEventListener("click", () => show(i));
        return one;
      });
      show(0);
      root.scrollIntoView({ block: "nearest" });
    };
    watch("value", update);
    update();
  };

  /* Distant hues and two shapes' worth of outline, so that forty classes can still be told apart with a click. */
  const hue = (c) => (c * 137.508) % 360;

  window.pointsmithMaps = (element, props, watch) => {
    const root = element.querySelector(".ps-maps");
    const update = () => {
      const value = props.value;
      root.replaceChildren();
      root.hidden = !value;
      if (!value) return;
      const used = [...new Set(value.labels)].sort((a, b) => a - b);
      const dots = [], off = new Set();
      for (const [key, title] of [["before", "Before tuning: the backbone alone"], ["after", "After tuning"]]) {
        const figure = make(root, "figure", { class: "ps-map" });
        make(figure, "figcaption", {}, title);
        const svg = make(figure, "svg", { viewBox: "0 0 400 400", role: "img", "aria-label": `${title}: ${value.count} inputs of ${used.length} classes` });
        const places = value[key], reach = Math.max(...places.flat().map(Math.abs)) || 1;
        places.forEach(([x, y], i) => {
          const c = value.labels[i];
          const dot = make(svg, "circle", { cx: 200 + (x / reach) * 190, cy: 200 - (y / reach) * 190, r: 4.5, style: `--hue:${hue(c)}`, class: c % 2 ? "ps-hollow" : "" });
          make(dot, "title", {}, `${value.classes[c]} ${value.names[i] ? `(${value.names[i]})` : ""}`);
          dots.push([c, dot]);
        });
      }
      const legend = make(root, "div", { class: "ps-map-legend", role: "group", "aria-label": "Classes" });
      for (const c of used) {
        const button = make(legend, "button", { type: "button", "aria-pressed": "false" });
        make(button, "i", { style: `--hue:${hue(c)}`, class: c % 2 ? "ps-hollow" : "" });
        button.append(value.classes[c]);
        button.addEventListener("click", () => {
          if (!off.delete(c)) off.add(c);
          button.setAttribute("aria-pressed", String(off.has(c)));
          for (const [k, dot] of dots) dot.classList.toggle("ps-faded", off.size > 0 && !off.has(k));
        });
      }
    };
    watch("value", update);
    update();
  };
})();
