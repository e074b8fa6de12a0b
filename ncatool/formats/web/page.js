// The display: what is shown of the cells, and what is done to them. The engines are in the part above.

const SPEEDS = [1, 2, 5, 15, 30, 60, 120, 240];
const $ = (id) => document.getElementById(id);

function premultiplied(model) {
  const pixels = bytes(model.target);
  const { padding, width, height } = model;
  const wide = width - 2 * padding;
  const found = new Float32Array(4 * model.cells);
  for (let i = 0; i < wide * (height - 2 * padding); i++) {
    const cell = (Math.floor(i / wide) + padding) * width + (i % wide) + padding;
    const alpha = Math.fround(pixels[4 * i + 3] / 255);
    for (let c = 0; c < 3; c++) found[4 * cell + c] = Math.fround(pixels[4 * i + c] / 255) * alpha;
    found[4 * cell + 3] = alpha;
  }
  return found;
}

// What lies behind transparent cells, and how maps of numbers are drawn on it: in dark mode dark, unless chosen.
// Opaque cells look the same on every ground.
const LIGHT = { ground: [255, 255, 255], ink: 0, gap: "#9a9aa0", low: [5, 72, 158], high: [158, 10, 38] };
const GROUNDS = {
  white: { ...LIGHT, name: "white" },
  dark: { name: "dark", ground: [35, 35, 41], ink: 255, gap: "#4a4a52", low: [110, 170, 255], high: [255, 120, 110] },
  black: { name: "black", ground: [0, 0, 0], ink: 255, gap: "#4a4a52", low: [110, 170, 255], high: [255, 120, 110] },
};
const DARK_SCHEME = matchMedia("(prefers-color-scheme: dark)");

// Premultiplied RGBA over the ground.
function paintColours(values, i, out, o, { ground }) {
  const left = 1 - Math.min(1, Math.max(0, values[i + 3]));
  for (let c = 0; c < 3; c++) out[o + c] = 255 * Math.min(1, Math.max(0, values[i + c])) + left * ground[c];
}

function paintAlpha(values, i, out, o, { ground, ink }) {
  const alpha = Math.min(1, Math.max(0, values[i + 3]));
  for (let c = 0; c < 3; c++) out[o + c] = ground[c] + alpha * (ink - ground[c]);
}

// Blue at -1, the ground at 0, red at 1.
function diverging(value, out, o, { ground, low, high }) {
  const amount = Math.min(1, Math.abs(value));
  const end = value < 0 ? low : high;
  for (let c = 0; c < 3; c++) out[o + c] = ground[c] + amount * (end[c] - ground[c]);
}

class Player {
  constructor() {
    this.playing = true;
    this.edits = [];
    this.canvas = $("cells");
    this.context = this.canvas.getContext("2d");
    this.small = document.createElement("canvas");
  }

  // Shows a model from its seed; the engine of the one before is given back.
  load(model) {
    const { width, height } = model;
    const before = this.engine;
    this.model = model;
    this.wanted = premultiplied(model);
    this.draw = masks(model, 2463534242);
    this.engine = new Plain(model);
    before?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.cursor = { x: width >> 1, y: height >> 1, shown: false };
    const scale = Math.max(1, Math.ceil(720 / Math.max(width, height)));
    Object.assign(this.canvas, { width: scale * width, height: scale * height });
    Object.assign(this.small, { width, height });
    this.image = new ImageData(width, height);
    this.reset(model.seed());
  }

  // Another picture of the model is what restarts grow, clicks plant and the MSE is to; the cells stay.
  choose(index) {
    this.model.choose(index);
    this.wanted = premultiplied(this.model);
  }

  // Which picture's a seed is, where the model has several.
  get ofPicture() {
    const { pictures, picture } = this.model;
    return pictures.length > 1 ? ` of ${pictures[picture].label}` : "";
  }

  // The faster engine takes over, with the state as it is.
  use({ engine, why }) {
    engine.write(this.engine.read());
    this.engine = engine;
    this.why = why;
    engine.canvas?.addEventListener("webglcontextlost", () => {
      if (this.engine !== engine) return;
      this.use({ engine: new Plain(this.model), why: "the graphics device has gone" });
      this.reset(this.model.seed());
    });
    $("backend").textContent = engine.name;
    $("why").textContent = `Computed by ${engine.name} (${why}).`;
  }

  reset(state) {
    this.engine.write(state);
    this.state = state;
    this.count = 0;
    this.due = 0;
    this.ended = false;
    this.edits = [];
    this.recent = [];
  }

  get speed() {
    return SPEEDS[$("speed").value];
  }

  get view() {
    return $("view").value;
  }

  get ground() {
    return GROUNDS[$("ground").value] ?? (DARK_SCHEME.matches ? GROUNDS.dark : GROUNDS.white);
  }

  get planting() {
    return $("plants").checked;
  }

  step() {
    this.heed();
    this.engine.step(this.draw());
    this.count++;
  }

  // Does what visitors have marked since the last step, all at once: reading a state back from the device is slow.
  heed() {
    if (!this.edits.length) return;
    const state = this.engine.read();
    for (const edit of this.edits) edit(state);
    this.engine.write(state);
    this.edits = [];
  }

  edit(change) {
    this.edits.push(change);
    this.touched();
  }

  erase(hits) {
    const { width, cells, lanes } = this.model;
    this.edit((state) => {
      for (let cell = 0; cell < cells; cell++) {
        if (hits(cell % width, Math.floor(cell / width))) state.fill(0, cell * lanes, (cell + 1) * lanes);
      }
    });
  }

  // Near an edge the seed moves inwards, so that it is whole.
  plant(column, row) {
    const { model } = this;
    const { x, y } = model.room(column, row);
    const { seedCells } = model;
    this.ended = false;
    this.edit((state) => model.sow(state, x, y, seedCells));
    tell(`Planted a seed${this.ofPicture} at row ${y}, column ${x}.`);
  }

  // What a click does where it is.
  act(x, y) {
    if (this.planting) this.plant(x, y);
    else this.circle(x, y);
  }

  // Shows the change at once, also where steps are slow or paused.
  touched() {
    if (this.playing) this.dirty = true;
    else this.show();
  }

  // The half of the picture, as `ncatool render --damage` erases it; not of what pads it.
  half(side) {
    const { padding, width, height } = this.model;
    const [wide, high] = [width - 2 * padding, height - 2 * padding];
    this.erase((x, y) => {
      const [u, v] = [x - padding, y - padding];
      if (u < 0 || v < 0 || u >= wide || v >= high) return false;
      return { left: u < wide / 2, right: u >= wide / 2, top: v < high / 2, bottom: v >= high / 2 }[side];
    });
  }

  circle(x0, y0) {
    const radius = Number($("brush").value);
    this.erase((x, y) => (x - x0) ** 2 + (y - y0) ** 2 <= radius ** 2);
  }

  get mse() {
    const { cells, lanes } = this.model;
    let sum = 0;
    for (let cell = 0; cell < cells; cell++) {
      for (let c = 0; c < 4; c++) sum += (this.state[cell * lanes + c] - this.wanted[4 * cell + c]) ** 2;
    }
    return sum / (4 * cells);
  }

  get alive() {
    const { lanes, threshold } = this.model;
    for (let i = 3; i < this.state.length; i += lanes) if (this.state[i] > threshold) return true;
    return false;
  }

  // The tiles of the view: one, or one a hidden channel, as large as fit.
  tiles() {
    const [wide, high] = [this.canvas.width, this.canvas.height];
    const { channels, width, height } = this.model;
    if (this.view !== "hidden") return [{ x: 0, y: 0, scale: wide / width }];
    let best = { scale: 0 };
    for (let columns = 1; columns <= channels - 4; columns++) {
      const rows = Math.ceil((channels - 4) / columns);
      const scale = Math.min(wide / (columns * (width + 1) + 1), high / (rows * (height + 1) + 1));
      if (scale >= best.scale) best = { scale, columns, rows };
    }
    const { scale, columns, rows } = best;
    const left = (wide - (columns * (width + 1) - 1) * scale) / 2;
    const top = (high - (rows * (height + 1) - 1) * scale) / 2;
    return Array.from({ length: channels - 4 }, (_, i) => ({
      x: left + (i % columns) * (width + 1) * scale,
      y: top + Math.floor(i / columns) * (height + 1) * scale,
      scale,
      channel: 4 + i,
    }));
  }

  paint(tile) {
    const { cells, lanes } = this.model;
    const { ground } = this;
    const out = this.image.data;
    for (let cell = 0; cell < cells; cell++) {
      if (tile.channel) diverging(this.state[cell * lanes + tile.channel], out, 4 * cell, ground);
      else (this.view === "alpha" ? paintAlpha : paintColours)(this.state, cell * lanes, out, 4 * cell, ground);
      out[4 * cell + 3] = 255;
    }
    this.small.getContext("2d").putImageData(this.image, 0, 0);
  }

  render(cursor) {
    const { context } = this;
    const { width, height } = this.model;
    context.imageSmoothingEnabled = false;
    context.fillStyle = this.ground.gap;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (const tile of this.tiles()) {
      this.paint(tile);
      context.drawImage(this.small, tile.x, tile.y, width * tile.scale, height * tile.scale);
      if (cursor) this.ring(tile);
    }
  }

  // What a click would change: dark on light on dark, so that it shows on every picture.
  ring({ x, y, scale }) {
    const { context, cursor, model, planting } = this;
    const middle = planting ? model.room(cursor.x, cursor.y) : cursor;
    const radius = ((planting ? model.reach : Number($("brush").value)) + 0.5) * scale;
    for (const [style, line] of [["#fff", 4], ["#000", 1.5]]) {
      context.beginPath();
      context.arc(x + (middle.x + 0.5) * scale, y + (middle.y + 0.5) * scale, radius, 0, 7);
      context.strokeStyle = style;
      context.lineWidth = line;
      context.stroke();
    }
  }

  show() {
    this.dirty = false;
    this.heed();
    this.state = this.engine.read(this.view === "hidden" ? undefined : 1);
    this.render(this.cursor.shown);
    $("count").textContent = this.count;
    const { mse } = this;
    $("mse").textContent = Number.isFinite(mse) ? mse.toExponential(2) : "not finite";
    if (this.ended || this.count === 0) return;
    const end = Number.isFinite(mse) ? !this.alive && "No cell is alive: restart from the seed." : "The cells have exploded: restart.";
    if (end) tell(end);
    this.ended = Boolean(end);
  }

  // Steps that are due since the last frame, as far as time allows.
  frame(now) {
    if (this.playing) {
      this.due = Math.min(this.due + (this.speed * Math.min(100, now - (this.last ?? now))) / 1000, 2 + this.speed / 15);
      const start = performance.now();
      const before = this.count;
      while (this.due >= 1 && performance.now() - start < 25) {
        this.step();
        this.due--;
      }
      this.recent.push([now, this.count]);
      while (now - this.recent[0][0] > 1000) this.recent.shift();
      const [then, count] = this.recent[0];
      if (now - then > 200) $("rate").textContent = Math.round(((this.count - count) * 1000) / (now - then));
      if (this.count !== before || this.dirty) this.show();
    }
    this.last = now;
    requestAnimationFrame((time) => this.frame(time));
  }

  play(on) {
    this.playing = on;
    this.recent = [];
    this.due = 0;
    $("pause").textContent = on ? "Pause" : "Play";
    if (!on) $("rate").textContent = "–";
  }

  save() {
    this.render(false);
    const name = `${this.model.name}-step-${this.count}.png`;
    this.canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      tell(`Saved ${name}.`);
    });
    this.render(this.cursor.shown);
  }
}
