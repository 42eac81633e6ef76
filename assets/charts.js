/* Line charts that are updated in place: same nodes, hidden traces stay hidden, no library, no request. */
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const PAD = { left: 46, right: 14, top: 12, bottom: 34 };
  const HEIGHT = 240;

  const make = (parent, name, attributes = {}, text = "") => {
    const svg = ["svg", "g", "path", "line", "text", "circle", "rect"].includes(name);
    const node = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    parent.appendChild(node);
    return node;
  };

  /* Round steps (1, 2, 2.5, 5 times a power of ten) that cut a range into about `count` parts. */
  const ticks = (low, high, count) => {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999) || power;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return found;
  };

  const say = (value, unit) => {
    if (unit === "%") return `${(value * 100).toFixed(1).replace(/\.0$/, "")} %`;
    if (value !== 0 && (Math.abs(value) < 0.01 || Math.abs(value) >= 1e5)) return value.toExponential(1);
    return String(Math.round(value * 1000) / 1000);
  };

  class Chart {
    constructor(parent) {
      this.hidden = new Set();
      this.box = make(parent, "figure", { class: "ps-chart" });
      this.caption = make(this.box, "figcaption");
      this.legend = make(this.box, "div", { class: "ps-legend" });
      this.plot = make(this.box, "div", { class: "ps-plot" });
      this.svg = make(this.plot, "svg", { height: HEIGHT, role: "img" });
      this.grid = make(this.svg, "g");
      this.lines = make(this.svg, "g");
      this.cursor = make(this.svg, "line", { class: "ps-cursor", visibility: "hidden" });
      this.tip = make(this.plot, "div", { class: "ps-tip", hidden: "" });
      this.empty = make(this.plot, "div", { class: "ps-empty-plot" });
      this.emptyText = make(this.empty, "span");
      this.paths = new Map();
      this.plot.addEventListener("pointermove", (event) => this.hover(event));
      this.plot.addEventListener("pointerdown", (event) => this.hover(event));
      this.plot.addEventListener("pointerleave", () => this.leave());
      this.observer = new ResizeObserver(() => this.draw());
      this.observer.observe(this.plot);
    }

    show(data) {
      this.data = data;
      if (this.caption.textContent !== data.title) this.caption.textContent = data.title;
      const names = data.series.map((one) => one.name).join("\n");
      if (names !== this.names) {
        this.names = names;
        this.legend.replaceChildren();
        for (const one of data.series) this.entry(one);
      }
      this.draw();
    }

    entry(one) {
      const button = make(this.legend, "button", { type: "button", "aria-pressed": String(!this.hidden.has(one.name)) });
      make(button, "i", { class: `ps-tone-${one.tone}` });
      button.append(one.name);
      button.addEventListener("click", () => {
        if (!this.hidden.delete(one.name)) this.hidden.add(one.name);
        button.setAttribute("aria-pressed", String(!this.hidden.has(one.name)));
        this.draw();
      });
    }

    scales(width) {
      const shown = this.data.series.filter((one) => !this.hidden.has(one.name) && one.x.length);
      const xs = shown.flatMap((one) => [one.x[0], one.x[one.x.length - 1]]);
      const ys = shown.flatMap((one) => one.y);
      const x1 = Math.max(this.data.xMax || 1, ...xs);
      let y0 = this.data.yMin ?? Math.min(...ys);
      let y1 = this.data.yMax ?? Math.max(...ys);
      if (!Number.isFinite(y0) || !Number.isFinite(y1)) [y0, y1] = [0, 1];
      if (y1 - y0 < 1e-9) [y0, y1] = [y0 - 0.5, y1 + 0.5];
      /* The axis ends at a tick, so that the highest value has a number beside it. */
      const marks = ticks(y0, y1, 4);
      const step = marks.length > 1 ? marks[1] - marks[0] : 0;
      if (step && this.data.yMax === undefined) y1 = Math.ceil(y1 / step - 1e-9) * step;
      const wide = width - PAD.left - PAD.right;
      const high = HEIGHT - PAD.top - PAD.bottom;
      return {
        shown, x1, y0, y1, wide,
        x: (value) => PAD.left + (value / x1) * wide,
        y: (value) => PAD.top + (1 - (value - y0) / (y1 - y0)) * high,
      };
    }

    draw() {
      const width = this.plot.clientWidth;
      if (!width || !this.data) return;
      const scale = (this.scale = this.scales(width));
      this.svg.setAttribute("width", width);
      this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      this.svg.setAttribute("aria-label", this.spoken());
      this.axes(scale, width);
      const alive = new Set();
      for (const one of scale.shown) {
        alive.add(one.name);
        this.line(one, scale);
      }
      for (const [name, path] of this.paths) {
        if (!alive.has(name)) {
          path.remove();
          this.paths.delete(name);
        }
      }
      const points = this.data.series.some((one) => one.x.length);
      this.emptyText.textContent = points ? "" : this.data.empty || "Nothing yet";
      this.empty.hidden = points;
    }

    line(one, scale) {
      let path = this.paths.get(one.name);
      if (!path) this.paths.set(one.name, (path = make(this.lines, "path", { class: `ps-line ps-tone-${one.tone}` })));
      let d = "";
      one.x.forEach((x, i) => { d += `${i ? "L" : "M"}${scale.x(x).toFixed(1)} ${scale.y(one.y[i]).toFixed(1)}`; });
      /* Few points are marked as such, each by a small ring. */
      if (one.dots) d += one.x.map((x, i) => `M${(scale.x(x) - 2.5).toFixed(1)} ${scale.y(one.y[i]).toFixed(1)}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`).join("");
      if (path.getAttribute("d") !== d) path.setAttribute("d", d);
      path.classList.toggle("ps-dots", Boolean(one.dots));
    }

    axes(scale, width) {
      this.grid.replaceChildren();
      for (const value of ticks(scale.y0, scale.y1, 4)) {
        const y = scale.y(value);
        make(this.grid, "line", { x1: PAD.left, x2: width - PAD.right, y1: y, y2: y, class: "ps-grid" });
        make(this.grid, "text", { x: PAD.left - 8, y: y + 4, "text-anchor": "end" }, say(value, this.data.unit));
      }
      for (const value of ticks(0, scale.x1, Math.max(2, Math.min(8, scale.wide / 70)))) {
        make(this.grid, "text", { x: scale.x(value), y: HEIGHT - PAD.bottom + 18, "text-anchor": "middle" }, say(value));
      }
      make(this.grid, "text", { x: width - PAD.right, y: HEIGHT - 2, "text-anchor": "end", class: "ps-axis" }, this.data.xLabel);
    }

    spoken() {
      const last = this.data.series.filter((one) => one.x.length);
      return `${this.data.title}: ` + (last.map((one) => `${one.name} ${say(one.y[one.y.length - 1], this.data.unit)}`).join(", ") || "no values yet");
    }

    hover(event) {
      const scale = this.scale;
      if (!scale || !scale.shown.length) return;
      const box = this.plot.getBoundingClientRect();
      const at = ((event.clientX - box.left - PAD.left) / scale.wide) * scale.x1;
      const near = scale.shown.map((one) => {
        let best = 0;
        one.x.forEach((x, i) => { if (Math.abs(x - at) < Math.abs(one.x[best] - at)) best = i; });
        return [one, best];
      });
      const x = near.map(([one, i]) => one.x[i]).reduce((a, b) => (Math.abs(b - at) < Math.abs(a - at) ? b : a));
      const px = scale.x(x);
      for (const [key, value] of [["x1", px], ["x2", px], ["y1", PAD.top], ["y2", HEIGHT - PAD.bottom]]) this.cursor.setAttribute(key, value);
      this.cursor.setAttribute("visibility", "visible");
      this.tip.replaceChildren();
      make(this.tip, "b", {}, `${this.data.xLabel} ${say(x)}`);
      for (const [one, i] of near) make(make(this.tip, "div"), "span", { class: `ps-ink-${one.tone}` }, `${one.name} ${say(one.y[i], this.data.unit)}`);
      this.tip.hidden = false;
      const room = box.width - this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(room, px > box.width / 2 ? px - this.tip.offsetWidth - 10 : px + 10))}px`;
    }

    leave() {
      this.tip.hidden = true;
      this.cursor.setAttribute("visibility", "hidden");
    }
  }

  /* Called once for the element; `watch` then brings every new value. */
  window.pointsmithCharts = (element, props, watch) => {
    const charts = new Map();
    let run = null;
    const update = () => {
      const value = props.value;
      const root = element.querySelector(".ps-charts");
      if (!root) return;
      if (!value || !value.charts) { root.replaceChildren(); charts.clear(); return; }
      if (value.run !== run || root.children.length !== charts.size) { root.replaceChildren(); charts.clear(); run = value.run; }
      for (const data of value.charts) {
        if (!charts.has(data.id)) charts.set(data.id, new Chart(root));
        charts.get(data.id).show(data);
      }
    };
    watch("value", update);
    update();
  };
})();
