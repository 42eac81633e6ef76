/* Line charts that are updated in place: same nodes, hidden traces stay hidden, no library, no request. */
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const PAD = { left: 46, right: 14, top: 12, bottom: 34 };
  const HEIGHT = 240, SMALL = 150;

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

  /* Exponential moving average that starts unbiased; `weight` 0 leaves all as it is. */
  const smoothed = (y, weight) => {
    let sum = 0, mass = 0;
    return y.map((value) => { sum = weight * sum + (1 - weight) * value; mass = weight * mass + (1 - weight); return sum / mass; });
  };

  class Chart {
    constructor(parent, board, height) {
      this.board = board;
      this.height = height;
      this.hidden = new Set();
      this.box = make(parent, "figure", { class: "ps-chart" });
      this.caption = make(this.box, "figcaption");
      this.legend = make(this.box, "div", { class: "ps-legend" });
      this.plot = make(this.box, "div", { class: "ps-plot" });
      this.svg = make(this.plot, "svg", { height, role: "img" });
      this.grid = make(this.svg, "g");
      this.lines = make(this.svg, "g");
      this.band = make(this.svg, "rect", { class: "ps-band", visibility: "hidden" });
      this.cursor = make(this.svg, "line", { class: "ps-cursor", visibility: "hidden" });
      this.tip = make(this.plot, "div", { class: "ps-tip", hidden: "" });
      this.empty = make(this.plot, "div", { class: "ps-empty-plot" });
      this.emptyText = make(this.empty, "span");
      this.paths = new Map();
      this.plot.addEventListener("pointermove", (event) => this.hover(event));
      this.plot.addEventListener("pointerdown", (event) => { this.hover(event); this.grip(event); });
      this.plot.addEventListener("pointerup", (event) => this.release(event));
      this.plot.addEventListener("dblclick", () => this.board.zoom(null));
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
      const [from, to] = this.board.range || [-Infinity, Infinity];
      /* One point beyond each edge is kept, so that lines run out of the picture. */
      const cut = (one) => {
        const first = Math.max(0, one.x.findIndex((x) => x >= from) - 1);
        const after = one.x.findIndex((x) => x > to);
        const end = after < 0 ? one.x.length : after + 1;
        const y = one.smooth && this.board.smooth ? smoothed(one.y, this.board.smooth) : one.y;
        const raw = y === one.y ? null : one.y.slice(first, end);
        return one.x.some((x) => x >= from) ? { ...one, x: one.x.slice(first, end), y: y.slice(first, end), raw } : { ...one, x: [], y: [] };
      };
      const shown = this.data.series.filter((one) => !this.hidden.has(one.name) && one.x.length).map((one) => (this.board.range || one.smooth ? cut(one) : one)).filter((one) => one.x.length);
      const xs = shown.flatMap((one) => [one.x[0], one.x[one.x.length - 1]]);
      const ys = shown.flatMap((one) => one.y);
      const x0 = this.board.range ? from : 0;
      const x1 = this.board.range ? to : Math.max(this.data.xMax || 1, ...xs);
      const near = this.board.range !== null;
      let y0 = near || this.data.yMin === undefined ? Math.min(...ys) : this.data.yMin;
      let y1 = near || this.data.yMax === undefined ? Math.max(...ys) : this.data.yMax;
      if (!Number.isFinite(y0) || !Number.isFinite(y1)) [y0, y1] = [0, 1];
      /* What hardly differs is no drama: the axis keeps a range in which its numbers can be told apart. */
      const least = 0.01 * Math.max(Math.abs(y0), Math.abs(y1));
      if (!near && y1 - y0 < least) [y0, y1] = [y0 - least / 2, y1 + least / 2];
      if (y1 - y0 < 1e-9) [y0, y1] = [y0 - 0.5, y1 + 0.5];
      /* The axis ends at a tick, so that the highest value has a number beside it. */
      const marks = ticks(y0, y1, 4);
      const step = marks.length > 1 ? marks[1] - marks[0] : 0;
      if (step && (near || this.data.yMax === undefined)) y1 = Math.ceil(y1 / step - 1e-9) * step;
      const wide = width - PAD.left - PAD.right;
      const high = this.height - PAD.top - PAD.bottom;
      return {
        shown, x0, x1, y0, y1, wide,
        x: (value) => PAD.left + ((value - x0) / (x1 - x0)) * wide,
        y: (value) => PAD.top + (1 - (value - y0) / (y1 - y0)) * high,
      };
    }

    draw() {
      const width = this.plot.clientWidth;
      if (!width || !this.data) return;
      const scale = (this.scale = this.scales(width));
      this.svg.setAttribute("width", width);
      this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
      this.svg.setAttribute("aria-label", this.spoken());
      this.axes(scale, width);
      const alive = new Set();
      for (const one of scale.shown) {
        alive.add(one.name);
        this.line(one, scale);
        if (one.raw) { alive.add(`${one.name}, raw`); this.line({ ...one, name: `${one.name}, raw`, y: one.raw, faint: true }, scale); }
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
      path.classList.toggle("ps-raw", Boolean(one.faint));
    }

    axes(scale, width) {
      this.grid.replaceChildren();
      for (const value of ticks(scale.y0, scale.y1, this.height > 200 ? 4 : 3)) {
        const y = scale.y(value);
        make(this.grid, "line", { x1: PAD.left, x2: width - PAD.right, y1: y, y2: y, class: "ps-grid" });
        make(this.grid, "text", { x: PAD.left - 8, y: y + 4, "text-anchor": "end" }, say(value, this.data.unit));
      }
      for (const value of ticks(scale.x0, scale.x1, Math.max(2, Math.min(8, scale.wide / 70)))) {
        make(this.grid, "text", { x: scale.x(value), y: this.height - PAD.bottom + 18, "text-anchor": "middle" }, say(value));
      }
      make(this.grid, "text", { x: width - PAD.right, y: this.height - 2, "text-anchor": "end", class: "ps-axis" }, this.data.xLabel);
    }

    spoken() {
      const last = this.data.series.filter((one) => one.x.length);
      return `${this.data.title}: ` + (last.map((one) => `${one.name} ${say(one.y[one.y.length - 1], this.data.unit)}`).join(", ") || "no values yet");
    }

    hover(event) {
      const scale = this.scale;
      if (!scale || !scale.shown.length) return;
      const box = this.plot.getBoundingClientRect();
      const at = this.under(event);
      if (this.from !== undefined) this.stretch(event);
      const near = scale.shown.map((one) => {
        let best = 0;
        one.x.forEach((x, i) => { if (Math.abs(x - at) < Math.abs(one.x[best] - at)) best = i; });
        return [one, best];
      });
      const x = near.map(([one, i]) => one.x[i]).reduce((a, b) => (Math.abs(b - at) < Math.abs(a - at) ? b : a));
      const px = scale.x(x);
      for (const [key, value] of [["x1", px], ["x2", px], ["y1", PAD.top], ["y2", this.height - PAD.bottom]]) this.cursor.setAttribute(key, value);
      this.cursor.setAttribute("visibility", "visible");
      this.tip.replaceChildren();
      make(this.tip, "b", {}, `${this.data.xLabel} ${say(x)}`);
      for (const [one, i] of near) make(make(this.tip, "div"), "span", { class: `ps-ink-${one.tone}` }, `${one.name} ${say(one.y[i], this.data.unit)}`);
      this.tip.hidden = false;
      const room = box.width - this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(room, px > box.width / 2 ? px - this.tip.offsetWidth - 10 : px + 10))}px`;
    }

    /* The x under the pointer, inside the axis. */
    under(event) {
      const { x0, x1, wide } = this.scale, left = this.plot.getBoundingClientRect().left;
      return Math.max(x0, Math.min(x1, x0 + ((event.clientX - left - PAD.left) / wide) * (x1 - x0)));
    }

    /* Dragging marks a range of x, which all charts then show; a double click shows the whole run again. */
    grip(event) {
      if (event.button || !this.scale || event.pointerType === "touch") return;
      this.from = this.under(event);
      this.plot.setPointerCapture(event.pointerId);
      event.preventDefault();
    }

    stretch(event) {
      const [a, b] = [this.from, this.under(event)].sort((l, r) => l - r).map((x) => this.scale.x(x));
      for (const [key, value] of [["x", a], ["width", b - a], ["y", PAD.top], ["height", this.height - PAD.top - PAD.bottom]]) this.band.setAttribute(key, value);
      this.band.setAttribute("visibility", "visible");
    }

    release(event) {
      if (this.from === undefined) return;
      const ends = [this.from, this.under(event)].sort((l, r) => l - r);
      this.from = undefined;
      this.band.setAttribute("visibility", "hidden");
      if (this.scale.x(ends[1]) - this.scale.x(ends[0]) > 8) this.board.zoom(ends);
    }

    leave() {
      this.tip.hidden = true;
      this.cursor.setAttribute("visibility", "hidden");
    }
  }

  /* What all charts of one element share: how much is smoothed, and which range of x is shown. */
  class Board {
    constructor(root) {
      this.smooth = 0;
      this.range = null;
      this.charts = new Map();
      this.bar = make(root, "div", { class: "ps-chart-bar" });
      const label = make(this.bar, "label", {}, "Smoothing");
      this.input = make(label, "input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0, "aria-label": "Smoothing of the curves by step" });
      this.input.addEventListener("input", () => { this.smooth = Number(this.input.value); this.draw(); });
      this.label = label;
      const part = make(make(this.bar, "label", {}, "Show"), "select", { "aria-label": "Part of the run that is shown" });
      for (const [value, text] of [["1", "the whole run"], ["0.5", "its last half"], ["0.1", "its last tenth"], ["", "a chosen part"]]) {
        const option = make(part, "option", { value }, text);
        if (!value) option.disabled = true;
      }
      part.addEventListener("change", () => {
        const share = Number(part.value), last = Math.max(0, ...[...this.charts.values()].flatMap((one) => one.data.series.map((line) => line.x[line.x.length - 1] || 0)));
        this.range = share === 1 || !last ? null : [last * (1 - share), last];
        this.draw();
      });
      this.part = part;
      make(this.bar, "span", {}, "Drag over a chart to look closer; a double click shows all.");
      this.large = root;
      this.small = null;
    }

    zoom(range) {
      this.range = range;
      this.part.value = range ? "" : "1";
      this.draw();
    }

    draw() { for (const chart of this.charts.values()) chart.draw(); }

    show(charts) {
      const wanted = new Set(charts.map((one) => one.id));
      for (const [id, chart] of this.charts) if (!wanted.has(id)) { chart.box.remove(); this.charts.delete(id); }
      this.label.hidden = !charts.some((one) => one.series.some((line) => line.smooth));
      for (const data of charts) {
        if (!this.charts.has(data.id)) {
          if (data.small && !this.small) this.small = make(this.large, "div", { class: "ps-charts-small" });
          const parent = data.small ? this.small : this.large;
          const chart = new Chart(parent, this, data.small ? SMALL : HEIGHT);
          if (!data.small && this.small) this.large.insertBefore(chart.box, this.small);
          this.charts.set(data.id, chart);
        }
        this.charts.get(data.id).show(data);
      }
    }
  }

  /* Called once for the element; `watch` then brings every new value. */
  window.pointsmithCharts = (element, props, watch) => {
    let run = null, board = null;
    const update = () => {
      const value = props.value;
      const root = element.querySelector(".ps-charts");
      if (!root) return;
      if (!value || !value.charts) { root.replaceChildren(); board = null; return; }
      if (!board || value.run !== run || !root.contains(board.bar)) { root.replaceChildren(); board = new Board(root); run = value.run; }
      board.show(value.charts);
    };
    watch("value", update);
    update();
  };
})();
