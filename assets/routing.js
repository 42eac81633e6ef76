/* Where tokens go: expert load and DAPT's scale by block and epoch, by class, and on one input patch by patch. */
(() => {
  "use strict";
  const EXPERTS = 8;
  /* As in viewer.js: low, middle and high, readable on the ground of each theme. */
  const RAMPS = {
    light: [[0.16, 0.25, 0.48], [0.62, 0.22, 0.42], [0.88, 0.42, 0.1]],
    dark: [[0.36, 0.55, 0.92], [0.85, 0.42, 0.62], [1.0, 0.76, 0.36]],
  };
  const dark = () => document.body.classList.contains("dark");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const colour = (expert) => `var(--ps-expert-${(expert % EXPERTS) + 1})`;
  const percent = (share) => (share > 0 && share < 0.005 ? "<1" : String(Math.round(share * 100)));

  const make = (parent, name, attributes = {}, text = "") => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== "") node.textContent = text;
    parent.appendChild(node);
    return node;
  };
  /* Numbers of a CSS colour such as #1f77b4, from 0 to 1. */
  const rgb = (expert) => {
    const said = getComputedStyle(document.body).getPropertyValue(`--ps-expert-${(expert % EXPERTS) + 1}`).trim();
    return [1, 3, 5].map((at) => parseInt(said.slice(at, at + 2), 16) / 255);
  };
  const ramp = (t) => {
    const [low, middle, high] = RAMPS[dark() ? "dark" : "light"], s = Math.max(0, Math.min(1, t));
    return low.map((v, a) => (s < 0.5 ? v + (middle[a] - v) * 2 * s : middle[a] + (high[a] - middle[a]) * (2 * s - 1)));
  };
  const css = (one) => `rgb(${one.map((v) => Math.round(v * 255)).join(" ")})`;

  const slider = (parent, label, change) => {
    const box = make(parent, "label", { class: "ps-slide" });
    make(box, "span", {}, label);
    const input = make(box, "input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": label });
    const said = make(box, "output");
    input.addEventListener("input", () => change(Number(input.value)));
    return { box, input, say(max, value, text) {
      input.max = max;
      input.value = value;
      input.setAttribute("aria-valuetext", text);
      said.textContent = text;
      box.hidden = max < 1;
    } };
  };

  /* One block as a bar cut into its experts' shares. */
  const stack = (row, shares, what) => {
    row.replaceChildren();
    shares.forEach((share, expert) => {
      if (share <= 0) return;
      const name = `expert ${expert + 1}`;
      const cell = make(row, "i", { style: `flex-grow:${share};background:${colour(expert)}`, title: `${what}, ${name}: ${percent(share)} %` });
      if (share > 0.07) make(cell, "b", {}, percent(share));
    });
    row.setAttribute("aria-label", `${what}: ${shares.map((share, e) => `expert ${e + 1} ${percent(share)} %`).join(", ")}`);
  };

  const expertLegend = (parent, experts) => {
    const legend = make(parent, "p", { class: "ps-expert-legend" });
    for (let e = 0; e < experts; e++) {
      const one = make(legend, "span");
      make(one, "i", { style: `background:${colour(e)}` });
      one.append(`expert ${e + 1}`);
    }
    return legend;
  };

  /* The run page's part: load or scale by block with a slider over epochs, and the experts of each class. */
  class Live {
    constructor(root) {
      this.root = root;
      this.follows = true;
      this.block = -1;
    }

    show(value) {
      this.value = value;
      const made = `${value.run} ${value.kind} ${value.blocks} ${value.experts}`;
      if (made !== this.made) { this.made = made; this.follows = true; this.build(); }
      this.notice.textContent = value.warning;
      this.notice.hidden = !value.warning;
      if (this.follows) this.at = value.epochs.length - 1;
      this.at = Math.min(this.at, value.epochs.length - 1);
      this.fill();
    }

    build() {
      const { value, root } = this;
      root.replaceChildren();
      const routed = value.kind === "routed";
      const first = make(root, "section");
      make(first, "h3", {}, routed ? "Expert load by block" : "Dynamic scale by block");
      make(first, "p", {}, routed
        ? `Share of the sub-tokens that each block sends to each expert, of ${value.inputs} inputs. At the end of a row: how undecided the router is (100 % is even).`
        : `What DAPT multiplies each token's update by, of ${value.inputs} inputs: the middle half of the tokens, median and 5 to 95 %. At the end of a row: tokens that are left alone (scale 0).`);
      this.notice = make(first, "p", { class: "ps-notice ps-notice-warning", role: "status" });
      this.slider = slider(first, "Epoch", (at) => { this.at = at; this.follows = at === this.value.epochs.length - 1; this.fill(); });
      this.rows = make(first, "div", { class: "ps-load" });
      this.cells = [];
      for (let b = 0; b < value.blocks; b++) {
        make(this.rows, "span", {}, `block ${b + 1}`);
        this.cells.push([make(this.rows, "div", { class: routed ? "ps-stackbar" : "ps-boxplot", role: "img" }), make(this.rows, "span")]);
      }
      if (routed) expertLegend(first, value.experts);
      else this.axis = make(first, "p", { class: "ps-scale-axis" });
      if (!routed) return;
      this.special = make(root, "section");
      make(this.special, "h3", {}, "Experts by class");
      this.about = make(this.special, "p");
      this.chooser = slider(this.special, "Block", (at) => { this.block = at - 1; this.fillClasses(); });
      this.table = make(make(this.special, "div", { class: "ps-scroll", tabindex: "0", role: "region", "aria-label": "Experts by class" }), "table", { class: "ps-special" });
    }

    fill() {
      const { value, at } = this, last = value.epochs.length - 1;
      if (last < 0) return;
      const epoch = value.epochs[at];
      this.slider.say(last, at, epoch ? `after ${epoch}` : "before training");
      if (value.kind === "routed") {
        this.cells.forEach(([row, end], b) => {
          stack(row, value.load[at][b].map((v) => v / 1000), `block ${b + 1}`);
          end.textContent = `${(value.entropy[at][b] / 10).toFixed(1)} %`;
          end.title = `entropy of the gates, as a share of the highest possible`;
        });
        this.fillClasses();
      } else this.fillScales();
    }

    fillScales() {
      const { value, at } = this, top = Math.max(1e-6, ...value.quantiles.flat().map((row) => row[4]));
      this.cells.forEach(([row, end], b) => {
        const q = value.quantiles[at][b], place = (v) => `${(100 * v) / top}%`;
        row.replaceChildren();
        make(row, "i", { class: "ps-whisker", style: `left:${place(q[0])};width:${place(q[4] - q[0])}` });
        make(row, "i", { class: "ps-half", style: `left:${place(q[1])};width:${place(q[3] - q[1])}` });
        make(row, "i", { class: "ps-median", style: `left:${place(q[2])}` });
        const said = `block ${b + 1}: median ${q[2].toFixed(2)}, 5 to 95 % from ${q[0].toFixed(2)} to ${q[4].toFixed(2)}`;
        row.setAttribute("aria-label", said);
        row.title = said;
        end.textContent = `${percent(value.off[at][b])} %`;
      });
      this.axis.replaceChildren();
      for (let i = 0; i <= 4; i++) make(this.axis, "span", {}, ((top * i) / 4).toFixed(2));
    }

    fillClasses() {
      const { value } = this, blocks = value.byBlock.length;
      this.special.hidden = !value.perClass.length;
      if (!value.perClass.length) return;
      this.block = Math.min(this.block, blocks - 1);
      const rows = this.block < 0 ? value.perClass : value.byBlock[this.block];
      this.about.textContent = `Share of a class's sub-tokens that go to each expert, ${value.kept ? `in epoch ${value.kept}, which was kept` : `after epoch ${value.epochs[value.epochs.length - 1]}`}.`;
      this.chooser.say(blocks, this.block + 1, this.block < 0 ? "all blocks" : `block ${this.block + 1}`);
      this.table.replaceChildren();
      const head = make(make(this.table, "thead"), "tr"), body = make(this.table, "tbody");
      make(head, "td");
      for (let e = 0; e < value.experts; e++) make(make(head, "th", { scope: "col" }), "i", { style: `background:${colour(e)}`, title: `expert ${e + 1}` }).append(`${e + 1}`);
      rows.forEach((row, c) => {
        if (!row) return;
        const line = make(body, "tr");
        make(line, "th", { scope: "row" }, value.classes[c]);
        row.forEach((v, e) => make(line, "td", { style: `--share:${v / 1000};--tone:${colour(e)}`, title: `${value.classes[c]}: ${percent(v / 1000)} % to expert ${e + 1}` }, percent(v / 1000)));
      });
    }
  }

  window.pointsmithRouting = (element, props, watch) => {
    const root = element.querySelector(".ps-routing"), live = new Live(root);
    const update = () => {
      if (!props.value || !props.value.epochs) { root.replaceChildren(); live.made = null; return; }
      live.show(props.value);
    };
    watch("value", update);
    update();
  };

  /* One input: each patch in the colour of its expert or scale, and one token's way through the blocks. */
  class Explained {
    constructor(element, changed) {
      this.element = element;
      this.at = null;
      this.block = null;
      this.side = element.querySelector(".ps-token");
      this.picture = element.querySelector(".ps-patches");
      this.slider = slider(element.querySelector(".ps-blocks"), "Block", (at) => { this.block = at; this.draw(); });
      this.legend = make(element.querySelector(".ps-blocks"), "div", { class: "ps-paint-legend" });
      this.picture.addEventListener("click", (event) => this.chosenOnPicture(event));
      new MutationObserver(() => this.value && this.draw()).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    }

    show(value) {
      this.value = value;
      this.gates = value.gates ? bytes(value.gates) : null;
      this.lead = value.lead ? bytes(value.lead) : null;
      this.scales = value.scales ? new Uint16Array(bytes(value.scales).buffer) : null;
      this.leadScales = value.leadScales;
      if (this.block === null || this.block >= value.blocks) this.block = value.blocks - 1;
      this.at = -1;
      const view = this.element.querySelector(".ps-view"), cloud = Boolean(value.view);
      view.hidden = !cloud;
      this.picture.hidden = cloud;
      if (cloud) {
        if (!this.viewer) this.listen((this.viewer = window.pointsmithView(this.element)));
        this.viewer.show(value.view);
        this.patchOf = new Uint16Array(bytes(value.view.patches).buffer);
        this.at = this.patchOf[0];
      } else {
        this.image = new Image();
        this.image.onload = () => this.draw();
        this.image.src = value.picture;
        this.at = 0;
      }
      this.draw();
    }

    listen(viewer) {
      let down = null;
      viewer.canvas.addEventListener("pointerdown", (e) => { down = [e.clientX, e.clientY]; });
      viewer.canvas.addEventListener("click", (e) => {
        if (!down || Math.hypot(e.clientX - down[0], e.clientY - down[1]) > 4) return;
        const point = viewer.pick(e.clientX, e.clientY);
        if (point >= 0) { this.at = this.patchOf[point]; this.draw(); }
      });
    }

    chosenOnPicture(event) {
      const box = this.picture.getBoundingClientRect(), [rows, columns] = this.value.grid;
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows), column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      this.at = Math.max(0, Math.min(rows - 1, row)) * columns + Math.max(0, Math.min(columns - 1, column));
      this.draw();
    }

    /* The mean gates (N) over a token's sub-tokens; patch -1 is the class token. */
    gate(block, patch) {
      const { heads, experts, patches } = this.value, from = patch < 0 ? this.lead : this.gates;
      const start = (patch < 0 ? block : block * patches + patch) * heads * experts, found = new Array(experts).fill(0);
      for (let i = 0; i < heads * experts; i++) found[i % experts] += from[start + i] / 255 / heads;
      const whole = found.reduce((a, b) => a + b, 0) || 1;
      return found.map((v) => v / whole);
    }

    scale(block, patch) {
      if (patch < 0) return this.leadScales[block];
      return (this.scales[block * this.value.patches + patch] / 65535) * this.value.scaleMax;
    }

    colours() {
      const found = [], ground = dark() ? [1, 1, 1] : [0, 0, 0];
      for (let p = 0; p < this.value.patches; p++) {
        if (p === this.at) found.push(ground);
        else if (this.gates) { const gate = this.gate(this.block, p); found.push(rgb(gate.indexOf(Math.max(...gate)))); }
        else found.push(ramp(this.scale(this.block, p) / (this.value.scaleMax || 1)));
      }
      return found;
    }

    draw() {
      const { value } = this, colours = this.colours();
      this.slider.say(value.blocks - 1, this.block, `${this.block + 1} of ${value.blocks}`);
      if (value.view) {
        const painted = new Float32Array(this.patchOf.length * 3);
        this.patchOf.forEach((patch, i) => painted.set(colours[patch] || [0.5, 0.5, 0.5], i * 3));
        this.viewer.recolour(painted);
        this.viewer.canvas.dataset.block = String(this.block);
      } else this.drawPicture(colours);
      this.drawLegend();
      this.drawToken();
    }

    drawPicture(colours) {
      const c = this.picture, pen = c.getContext("2d"), [rows, columns] = this.value.grid;
      c.width = c.height = 672;
      if (this.image.complete && this.image.naturalWidth) pen.drawImage(this.image, 0, 0, c.width, c.height);
      const [w, h] = [c.width / columns, c.height / rows];
      colours.forEach((one, p) => {
        const [x, y] = [(p % columns) * w, Math.floor(p / columns) * h];
        pen.fillStyle = css(one).replace(")", p === this.at ? " / 0)" : " / 0.55)");
        pen.fillRect(x + 0.5, y + 0.5, w - 1, h - 1);
        if (p === this.at) { pen.strokeStyle = "#fff"; pen.lineWidth = 5; pen.strokeRect(x, y, w, h); pen.strokeStyle = "#000"; pen.lineWidth = 2; pen.strokeRect(x, y, w, h); }
      });
      c.dataset.block = String(this.block);
    }

    drawLegend() {
      this.legend.replaceChildren();
      if (this.gates) { expertLegend(this.legend, this.value.experts); return; }
      const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => css(ramp(t))).join(", ");
      const line = make(this.legend, "p", { class: "ps-ramp" });
      make(line, "span", {}, "0");
      make(line, "i", { style: `background:linear-gradient(to right, ${stops})` });
      make(line, "span", {}, this.value.scaleMax.toFixed(2));
    }

    drawToken() {
      const { value } = this, root = this.side;
      root.replaceChildren();
      const head = make(root, "div", { class: "ps-token-head" });
      make(head, "h3", {}, this.at < 0 ? "Class token" : `Patch ${this.at + 1} of ${value.patches}`);
      const button = (text, go, pressed) => make(head, "button", { type: "button", "aria-pressed": String(pressed), "data-token": go }, text).addEventListener("click", () => { this.at = go; this.draw(); });
      const count = value.patches;
      button("‹", ((this.at < 0 ? 0 : this.at) + count - 1) % count, false);
      button("›", (this.at + 1) % count, false);
      if (this.lead || this.leadScales) button("Class token", -1, this.at < 0);
      make(root, "p", { class: "ps-quiet" }, this.gates ? "Probability of each expert, block by block; the mean over its sub-tokens." : "Its scale, block by block.");
      const rows = make(root, "div", { class: "ps-load" });
      for (let b = 0; b < value.blocks; b++) {
        make(rows, "span", b === this.block ? { class: "ps-here" } : {}, `block ${b + 1}`);
        const row = make(rows, "div", { class: this.gates ? "ps-stackbar" : "ps-boxplot", role: "img" });
        if (this.gates) {
          const gate = this.gate(b, this.at);
          stack(row, gate, `block ${b + 1}`);
          make(rows, "span", {}, `${gate.indexOf(Math.max(...gate)) + 1}`);
        } else {
          const scale = this.scale(b, this.at);
          make(row, "i", { class: "ps-filled", style: `width:${(100 * scale) / (value.scaleMax || 1)}%;background:${css(ramp(scale / (value.scaleMax || 1)))}` });
          row.setAttribute("aria-label", `block ${b + 1}: scale ${scale.toFixed(3)}`);
          make(rows, "span", {}, scale.toFixed(2));
        }
      }
      if (this.value.view) make(root, "p", { class: "ps-quiet" }, "Click a point of the cloud to choose its patch.");
      else make(root, "p", { class: "ps-quiet" }, "Click a patch of the image to choose it.");
    }
  }

  window.pointsmithExplain = (element, props, watch) => {
    let shown = null;
    const update = () => {
      const box = element.querySelector(".ps-explain");
      box.hidden = !props.value;
      if (!props.value) return;
      shown = shown || new Explained(element);
      shown.show(props.value);
    };
    watch("value", update);
    update();
  };
})();
