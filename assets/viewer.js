/* A point cloud in raw WebGL: orbit, zoom, pan with mouse, touch and keys; colours; the camera outlives new data. */
(() => {
  "use strict";
  const VERTEX = `
    attribute vec3 place; attribute float height; attribute vec3 patchColour;
    uniform mat4 view; uniform float size; uniform float mode; uniform float zoom;
    uniform vec3 low; uniform vec3 middle; uniform vec3 high;
    varying vec3 colour;
    void main() {
      gl_Position = view * vec4(place, 1.0);
      gl_PointSize = clamp(size * zoom / max(gl_Position.w, 0.1), 1.0, 64.0);
      vec3 ramp = height < 0.5 ? mix(low, middle, height * 2.0) : mix(middle, high, height * 2.0 - 1.0);
      colour = mix(ramp, patchColour, mode);
    }`;
  const FRAGMENT = `
    precision mediump float; varying vec3 colour;
    void main() {
      vec2 from = gl_PointCoord * 2.0 - 1.0;
      float far = dot(from, from);
      if (far > 1.0) discard;
      gl_FragColor = vec4(colour * (1.0 - 0.35 * far), 1.0);
    }`;
  /* Low, middle and high end of the height ramp, readable on the ground of each theme. */
  const RAMPS = {
    light: [[0.16, 0.25, 0.48], [0.62, 0.22, 0.42], [0.88, 0.42, 0.1]],
    dark: [[0.36, 0.55, 0.92], [0.85, 0.42, 0.62], [1.0, 0.76, 0.36]],
  };
  const START = { yaw: 0.65, pitch: 0.38, distance: 2.7, x: 0, y: 0 };

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /* Undo ui/viewer.py: 16-bit steps between the corners of the bounding box. */
  const decode = (value) => {
    const steps = new Uint16Array(bytes(value.points).buffer);
    const place = new Float32Array(steps.length);
    for (let i = 0; i < steps.length; i++) {
      const axis = i % 3;
      place[i] = value.low[axis] + (steps[i] / 65535) * (value.high[axis] - value.low[axis]);
    }
    return place;
  };

  /* Neighbouring numbers get distant hues: steps of the golden angle. */
  const patchColours = (patches, dark) => {
    const found = new Float32Array(patches.length * 3);
    patches.forEach((patch, i) => {
      const hue = (patch * 137.508) % 360, light = (dark ? 0.62 : 0.45) + (patch % 3) * 0.05, s = 0.72;
      for (let channel = 0; channel < 3; channel++) {
        const k = ([0, 8, 4][channel] + hue / 30) % 12;
        found[i * 3 + channel] = light - s * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
      }
    });
    return found;
  };

  const partColours = (parts, palette) => {
    const found = new Float32Array(parts.length * 3);
    parts.forEach((part, i) => found.set(palette[part] || [0.5, 0.5, 0.5], i * 3));
    return found;
  };

  const multiply = (a, b) => {
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[c * 4 + r] += a[k * 4 + r] * b[c * 4 + k];
    return out;
  };

  /* From -32767 (speaks against the answer: the ramp's cool end) over grey to 32767 (the answer rests on it). */
  const weightColours = (weights, dark) => {
    const [cool, , warm] = RAMPS[dark ? "dark" : "light"], grey = dark ? 0.36 : 0.78;
    const found = new Float32Array(weights.length * 3);
    weights.forEach((weight, i) => {
      const t = Math.min(1, Math.abs(weight) / 32767), end = weight < 0 ? cool : warm;
      for (let a = 0; a < 3; a++) found[i * 3 + a] = grey + (end[a] - grey) * t;
    });
    return found;
  };

  const save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const SETTLED = 160; /* ms without movement after which the picture is drawn in full again */
  const viewers = new Set();

  class Viewer {
    constructor(element) {
      viewers.add(this);
      this.detail = 1;
      this.picked = -1;
      this.element = element;
      this.camera = { ...START };
      this.canvas = element.querySelector("canvas");
      this.note = element.querySelector(".ps-note");
      this.message = element.querySelector(".ps-view-message");
      this.colour = element.querySelector(".ps-colour");
      this.size = element.querySelector(".ps-size");
      this.pointers = new Map();
      this.buffers = {};
      this.count = 0;
      this.listen();
      this.prepare();
    }

    listen() {
      const c = this.canvas;
      c.addEventListener("pointerdown", (e) => { c.setPointerCapture(e.pointerId); this.pointers.set(e.pointerId, [e.clientX, e.clientY]); });
      c.addEventListener("pointermove", (e) => this.move(e));
      c.addEventListener("pointerdown", (e) => { this.pressed = [e.clientX, e.clientY]; });
      c.addEventListener("pointerup", (e) => {
        if (this.pressed && Math.hypot(e.clientX - this.pressed[0], e.clientY - this.pressed[1]) < 4) this.choose(this.pick(e.clientX, e.clientY));
      });
      for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) c.addEventListener(name, (e) => this.pointers.delete(e.pointerId));
      c.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(Math.exp(Math.sign(e.deltaY) * Math.min(Math.abs(e.deltaY), 100) * 0.002)); }, { passive: false });
      c.addEventListener("contextmenu", (e) => e.preventDefault());
      c.addEventListener("dblclick", () => this.reset());
      c.addEventListener("keydown", (e) => this.key(e));
      c.addEventListener("webglcontextlost", (e) => { e.preventDefault(); this.gl = null; this.tell("The graphics context was lost; waiting for the browser to give it back."); });
      c.addEventListener("webglcontextrestored", () => { this.prepare(); this.upload(); });
      element_on(this.element, ".ps-reset", "click", () => this.reset());
      element_on(this.element, ".ps-photo", "click", () => this.photograph());
      element_on(this.element, ".ps-ply", "click", () => this.write());
      this.colour.addEventListener("change", () => this.upload());
      this.size.addEventListener("input", () => this.draw());
      new ResizeObserver(() => this.draw()).observe(c);
      new MutationObserver(() => { this.upload(); }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    }

    prepare() {
      const gl = (this.gl = this.canvas.getContext("webgl", { antialias: true, alpha: true, preserveDrawingBuffer: false }));
      if (!gl) { this.tell("This browser offers no WebGL, so the cloud cannot be drawn here."); return; }
      const program = gl.createProgram();
      for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, text);
        gl.compileShader(shader);
        if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      gl.useProgram(program);
      this.program = program;
      gl.enable(gl.DEPTH_TEST);
      this.buffers = { place: gl.createBuffer(), height: gl.createBuffer(), patchColour: gl.createBuffer(), truthColour: gl.createBuffer() };
      this.tell("");
    }

    show(value) {
      this.choose(-1);
      this.value = value;
      if (!value || !value.count) { this.count = 0; this.place = null; this.note.textContent = ""; this.draw(); return; }
      this.place = decode(value);
      this.count = value.count;
      this.patches = value.patches ? new Uint16Array(bytes(value.patches).buffer) : null;
      const numbers = (text) => (text ? new Uint16Array(bytes(text).buffer) : null);
      const hadParts = Boolean(this.parts), hadWeights = Boolean(this.weights);
      this.weights = value.weights ? new Int16Array(bytes(value.weights).buffer) : null;
      [this.parts, this.truth, this.palette] = [numbers(value.parts), numbers(value.truth), value.partColours];
      this.up = value.up ?? 1;
      const number = (n) => n.toLocaleString("en");
      this.note.textContent = value.count < value.total ? `${number(value.count)} of ${number(value.total)} points shown` : `${number(value.count)} points`;
      this.canvas.setAttribute("aria-label", `3D point cloud, ${this.note.textContent}. Arrow keys turn, plus and minus zoom, shift with arrows moves, 0 resets.`);
      const option = this.colour.querySelector('option[value="patch"]');
      option.disabled = !this.patches;
      this.colour.querySelector('option[value="part"]').disabled = !this.parts;
      const weighed = this.colour.querySelector('option[value="weight"]');
      weighed.disabled = weighed.hidden = !this.weights;
      if (this.weights && !hadWeights) this.colour.value = "weight";
      if (!this.weights && this.colour.value === "weight") this.colour.value = "height";
      if (this.parts && !hadParts) this.colour.value = "part";
      if (!this.parts && this.colour.value === "part") this.colour.value = "height";
      if (!this.patches && this.colour.value === "patch") this.colour.value = "height";
      this.upload();
    }

    upload() {
      const gl = this.gl;
      if (!gl || !this.place) { this.draw(); return; }
      const height = new Float32Array(this.count);
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < this.count; i++) {
        const at = this.place[i * 3 + this.up];
        if (at < low) low = at;
        if (at > high) high = at;
      }
      for (let i = 0; i < this.count; i++) height[i] = (this.place[i * 3 + this.up] - low) / (high - low || 1);
      const byPart = this.colour.value === "part" && this.parts, none = new Float32Array(this.count * 3);
      const painted = this.colour.value === "painted" && this.painted && this.painted.length === this.count * 3;
      const byWeight = this.colour.value === "weight" && this.weights;
      const patch = painted ? this.painted : byWeight ? weightColours(this.weights, this.dark()) : byPart ? partColours(this.parts, this.palette) : this.patches ? patchColours(this.patches, this.dark()) : none;
      this.shownColours = patch;
      const truth = this.halves() ? partColours(this.truth, this.palette) : none;
      for (const [name, content] of [["place", this.place], ["height", height], ["patchColour", patch], ["truthColour", truth]]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
        gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
      }
      this.point("place", "place", 3);
      this.point("height", "height", 1);
      this.fit();
      this.draw();
    }

    /* Colour each point (3 numbers from 0 to 1 each) as somebody else says, where the colour `painted` is offered. */
    recolour(colours) {
      this.painted = colours;
      if (this.colour.value === "painted") this.upload();
    }

    /* The number of the point nearest to the viewer within a few pixels of a place on the page, or -1. */
    pick(clientX, clientY, reach = 12) {
      const whole = this.canvas.getBoundingClientRect(), wide = whole.width / (this.halves() ? 2 : 1);
      const right = this.halves() && clientX > whole.left + wide;
      const box = { left: whole.left + (right ? wide : 0), top: whole.top, width: wide, height: whole.height };
      const m = this.place && this.matrix(box.width / box.height);
      let best = -1, near = Infinity;
      for (let i = 0; m && i < this.count; i++) {
        const [x, y, z] = [this.place[i * 3], this.place[i * 3 + 1], this.place[i * 3 + 2]];
        const w = m[3] * x + m[7] * y + m[11] * z + m[15];
        const px = box.left + (1 + (m[0] * x + m[4] * y + m[8] * z + m[12]) / w) * box.width / 2;
        const py = box.top + (1 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w) * box.height / 2;
        const far = Math.hypot(px - clientX, py - clientY);
        if (far < reach && w > 0 && w + far * 0.01 < near) { near = w + far * 0.01; best = i; }
      }
      return best;
    }

    /* Have the shader read an attribute from a buffer. */
    point(attribute, buffer, width) {
      const gl = this.gl, where = gl.getAttribLocation(this.program, attribute);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[buffer]);
      gl.enableVertexAttribArray(where);
      gl.vertexAttribPointer(where, width, gl.FLOAT, false, 0, 0);
    }

    /* Whether the predicted parts stand beside the true ones. */
    halves() { return Boolean(this.colour.value === "part" && this.parts && this.truth); }

    /* Centre and radius of the cloud, so that any unit of length fills the view. */
    fit() {
      const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
      this.place.forEach((v, i) => { const a = i % 3; if (v < low[a]) low[a] = v; if (v > high[a]) high[a] = v; });
      this.centre = low.map((v, a) => (v + high[a]) / 2);
      this.radius = Math.hypot(...low.map((v, a) => (high[a] - v) / 2)) || 1;
    }

    dark() { return document.body.classList.contains("dark"); }

    matrix(aspect) {
      const { yaw, pitch, distance, x, y } = this.camera;
      const s = 1 / this.radius, [cx, cy, cz] = this.centre;
      const model = new Float32Array([s, 0, 0, 0, 0, s, 0, 0, 0, 0, s, 0, -cx * s, -cy * s, -cz * s, 1]);
      const [a, b] = [Math.cos(yaw), Math.sin(yaw)], [c, d] = [Math.cos(pitch), Math.sin(pitch)];
      const around = new Float32Array([a, 0, -b, 0, 0, 1, 0, 0, b, 0, a, 0, 0, 0, 0, 1]);
      const tilt = new Float32Array([1, 0, 0, 0, 0, c, d, 0, 0, -d, c, 0, 0, 0, 0, 1]);
      const back = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, x, y, -distance, 1]);
      const f = 2.1 * Math.min(1, aspect), near = 0.02, far = 60;
      const lens = new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0]);
      return [lens, back, tilt, around, model].reduce(multiply);
    }

    draw() {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
    }

    /* After a movement of the camera: linked viewers follow. Where frames take long, all points are drawn with fewer
       pixels while it lasts, and in full once it rests. */
    moved() {
      const now = performance.now(), took = now - (this.last || 0);
      this.last = now;
      if (took < 400) this.detail = took > 50 ? Math.max(0.34, this.detail * 0.85) : took < 24 ? Math.min(1, this.detail * 1.05) : this.detail;
      this.moving = true;
      clearTimeout(this.rest);
      this.rest = setTimeout(() => { this.moving = false; this.draw(); }, SETTLED);
      this.draw();
      const group = this.element.closest(".ps-linked");
      for (const other of viewers) {
        if (other === this || !group || other.element.closest(".ps-linked") !== group) continue;
        Object.assign(other.camera, this.camera);
        [other.moving, other.detail] = [true, this.detail];
        clearTimeout(other.rest);
        other.rest = setTimeout(() => { other.moving = false; other.draw(); }, SETTLED);
        other.draw();
      }
    }

    paint() {
      const gl = this.gl, c = this.canvas;
      if (!gl || gl.isContextLost() || !c.clientWidth) return;
      const ratio = Math.min(window.devicePixelRatio || 1, 2) * (this.moving ? this.detail : 1);
      const width = Math.round(c.clientWidth * ratio), height = Math.round(c.clientHeight * ratio);
      if (c.width !== width || c.height !== height) { c.width = width; c.height = height; }
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      this.element.querySelector(".ps-halves").hidden = !(this.place && this.halves());
      if (!this.place) return;
      const at = (name) => gl.getUniformLocation(this.program, name);
      const [low, middle, high] = RAMPS[this.dark() ? "dark" : "light"];
      const sides = this.halves() ? ["patchColour", "truthColour"] : ["patchColour"], wide = Math.floor(width / sides.length);
      gl.uniformMatrix4fv(at("view"), false, this.matrix(wide / height));
      gl.uniform1f(at("size"), Number(this.size.value) * ratio);
      gl.uniform1f(at("zoom"), START.distance * Math.min(1, (height / ratio) / 420));
      gl.uniform1f(at("mode"), this.colour.value === "height" ? 0 : 1);
      gl.uniform3fv(at("low"), low);
      gl.uniform3fv(at("middle"), middle);
      gl.uniform3fv(at("high"), high);
      sides.forEach((buffer, i) => {
        gl.viewport(i * wide, 0, wide, height);
        this.point("patchColour", buffer, 3);
        gl.drawArrays(gl.POINTS, 0, this.count);
      });
      this.mark();
      this.canvas.dataset.sides = String(sides.length);
      this.canvas.dataset.drawn = String(this.count);
      this.canvas.dataset.camera = Object.values(this.camera).map((v) => v.toFixed(3)).join(" ");
    }

    move(event) {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY];
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      this.pointers.set(event.pointerId, now);
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      if (others.length) {
        const gap = (at) => Math.hypot(at[0] - others[0][0], at[1] - others[0][1]) || 1;
        this.zoom(gap(before) / gap(now));
        this.pan(dx / 2, dy / 2);
      } else if (event.buttons & 2 || event.shiftKey) this.pan(dx, dy);
      else this.turn(dx * 0.01, dy * 0.01);
    }

    turn(yaw, pitch) {
      this.camera.yaw += yaw;
      this.camera.pitch = Math.max(-1.55, Math.min(1.55, this.camera.pitch + pitch));
      this.moved();
    }

    pan(dx, dy) {
      const scale = this.camera.distance / (this.canvas.clientHeight || 400);
      this.camera.x += dx * scale;
      this.camera.y -= dy * scale;
      this.moved();
    }

    zoom(factor) {
      this.camera.distance = Math.max(0.3, Math.min(20, this.camera.distance * factor));
      this.moved();
    }

    reset() { Object.assign(this.camera, START); this.moved(); }

    /* Tell of a point, by its number; -1 for none. */
    choose(number) {
      this.picked = number;
      this.told ??= this.element.querySelector(".ps-picked");
      this.ring ??= this.element.querySelector(".ps-ring");
      this.told.hidden = this.ring.hidden = number < 0;
      if (number >= 0) {
        const at = [0, 1, 2].map((a) => this.place[number * 3 + a].toPrecision(4)).join(", ");
        const names = this.value.partNames || [], part = (n) => names[n] || `part ${n + 1}`;
        const said = [`point ${number + 1}`, `(${at})`];
        if (this.patches) said.push(`patch ${this.patches[number] + 1}`);
        if (this.parts) said.push(part(this.parts[number]) + (this.truth ? `, in truth ${part(this.truth[number])}` : ""));
        if (this.weights && this.value.weightUnit) said.push(`${((this.weights[number] / 32767) * this.value.weightUnit * 100).toFixed(1)} % of probability`);
        this.told.textContent = said.join(" · ");
        this.mark();
      }
      this.draw();
    }

    /* Put the ring round the chosen point. */
    mark() {
      if (this.picked < 0 || !this.place) return;
      const c = this.canvas, i = this.picked * 3, wide = c.clientWidth / (this.halves() ? 2 : 1);
      const m = this.matrix(wide / c.clientHeight), [x, y, z] = this.place.subarray(i, i + 3);
      const w = m[3] * x + m[7] * y + m[11] * z + m[15];
      this.ring.style.left = `${(1 + (m[0] * x + m[4] * y + m[8] * z + m[12]) / w) * wide / 2}px`;
      this.ring.style.top = `${(1 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w) * c.clientHeight / 2}px`;
    }

    /* Save what is seen as a picture, on the ground that it is seen on. */
    photograph() {
      if (!this.place) return;
      this.moving = false;
      this.paint();
      const c = this.canvas, copy = document.createElement("canvas");
      [copy.width, copy.height] = [c.width, c.height];
      const pen = copy.getContext("2d");
      pen.fillStyle = getComputedStyle(this.element.querySelector(".ps-view") || this.element).backgroundColor;
      pen.fillRect(0, 0, c.width, c.height);
      pen.drawImage(c, 0, 0);
      copy.toBlob((blob) => save(blob, "pointsmith.png"));
    }

    /* Save the points that are shown, with the colours that they have and what is known of each. */
    write() {
      if (!this.place) return;
      const colours = this.colour.value === "height" ? null : this.shownColours, extra = [];
      if (this.patches) extra.push(["ushort patch", this.patches]);
      if (this.parts) extra.push(["ushort part", this.parts]);
      if (this.truth) extra.push(["ushort true_part", this.truth]);
      if (this.weights && this.value.weightUnit) extra.push(["float importance", Array.from(this.weights, (w) => ((w / 32767) * this.value.weightUnit).toPrecision(4))]);
      const names = (this.value.partNames || []).map((name, i) => `comment part ${i} ${name.replace(/[^\x20-\x7e]/g, "?")}`);
      const head = ["ply", "format ascii 1.0", "comment written by Pointsmith", ...names, `element vertex ${this.count}`];
      head.push("property float x", "property float y", "property float z");
      if (colours) head.push("property uchar red", "property uchar green", "property uchar blue");
      head.push(...extra.map(([name]) => `property ${name}`), "end_header");
      const rows = Array.from({ length: this.count }, (_, i) => {
        const row = [0, 1, 2].map((a) => this.place[i * 3 + a].toPrecision(7));
        if (colours) row.push(...[0, 1, 2].map((a) => Math.round(colours[i * 3 + a] * 255)));
        return [...row, ...extra.map(([, values]) => values[i])].join(" ");
      });
      save(new Blob([[...head, ...rows].join("\n") + "\n"], { type: "text/plain" }), "pointsmith.ply");
    }

    key(event) {
      const far = event.shiftKey, step = 0.12;
      const keys = {
        ArrowLeft: () => (far ? this.pan(-20, 0) : this.turn(-step, 0)), ArrowRight: () => (far ? this.pan(20, 0) : this.turn(step, 0)),
        ArrowUp: () => (far ? this.pan(0, -20) : this.turn(0, -step)), ArrowDown: () => (far ? this.pan(0, 20) : this.turn(0, step)),
        "+": () => this.zoom(0.9), "=": () => this.zoom(0.9), "-": () => this.zoom(1.1), 0: () => this.reset(), Home: () => this.reset(),
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    }

    tell(text) { this.message.textContent = text; this.message.hidden = !text; }
  }

  const element_on = (element, selector, name, action) => element.querySelector(selector).addEventListener(name, action);

  /* Called once for the element; `watch` then brings every new value. */
  window.pointsmithViewer = (element, props, watch) => {
    const viewer = new Viewer(element);
    const update = () => viewer.show(props.value);
    watch("value", update);
    update();
  };
  /* For other scripts: a viewer in an element that holds ui/viewer.py's template. */
  window.pointsmithView = (element) => new Viewer(element);
})();
