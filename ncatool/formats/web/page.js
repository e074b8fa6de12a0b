// The page: display and controls. The engines are in the part above.

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

// Premultiplied RGBA over white.
function paintColours(values, i, out, o) {
  const ground = 1 - Math.min(1, Math.max(0, values[i + 3]));
  for (let c = 0; c < 3; c++) out[o + c] = 255 * (Math.min(1, Math.max(0, values[i + c])) + ground);
}

function paintAlpha(values, i, out, o) {
  out[o] = out[o + 1] = out[o + 2] = 255 * (1 - values[i + 3]);
}

// Blue at -1, white at 0, red at 1.
function diverging(value, out, o) {
  const amount = Math.min(1, Math.abs(value));
  const end = value < 0 ? [5, 72, 158] : [158, 10, 38];
  for (let c = 0; c < 3; c++) out[o + c] = 255 + amount * (end[c] - 255);
}

class Player {
  constructor(model) {
    this.model = model;
    this.wanted = premultiplied(model);
    this.draw = masks(model, 2463534242);
    this.engine = new Plain(model);
    this.playing = true;
    this.erasures = [];
    this.cursor = { x: model.width >> 1, y: model.height >> 1, shown: false };
    this.canvas = $("cells");
    const scale = Math.max(1, Math.ceil(720 / Math.max(model.width, model.height)));
    this.canvas.width = scale * model.width;
    this.canvas.height = scale * model.height;
    this.context = this.canvas.getContext("2d");
    this.small = document.createElement("canvas");
    this.small.width = model.width;
    this.small.height = model.height;
    this.image = new ImageData(model.width, model.height);
    this.reset(model.seed());
  }

  // The faster engine takes over, with the state as it is.
  use({ engine, why }) {
    engine.write(this.engine.read());
    this.engine = engine;
    this.why = why;
    engine.canvas?.addEventListener("webglcontextlost", () => {
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
    this.erasures = [];
    this.recent = [];
  }

  get speed() {
    return SPEEDS[$("speed").value];
  }

  get view() {
    return $("view").value;
  }

  step() {
    this.heed();
    this.engine.step(this.draw());
    this.count++;
  }

  // Erases what visitors have marked since the last step, all at once: reading a state back from the device is slow.
  heed() {
    if (!this.erasures.length) return;
    const { width, height, cells, lanes } = this.model;
    const state = this.engine.read();
    for (let cell = 0; cell < cells; cell++) {
      const [x, y] = [cell % width, Math.floor(cell / width)];
      if (this.erasures.some((hits) => hits(x, y))) state.fill(0, cell * lanes, (cell + 1) * lanes);
    }
    this.engine.write(state);
    this.erasures = [];
  }

  erase(hits) {
    this.erasures.push(hits);
    this.touched();
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
    const out = this.image.data;
    for (let cell = 0; cell < cells; cell++) {
      if (tile.channel) diverging(this.state[cell * lanes + tile.channel], out, 4 * cell);
      else (this.view === "alpha" ? paintAlpha : paintColours)(this.state, cell * lanes, out, 4 * cell);
      out[4 * cell + 3] = 255;
    }
    this.small.getContext("2d").putImageData(this.image, 0, 0);
  }

  render(cursor) {
    const { context } = this;
    const { width, height } = this.model;
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#9a9aa0";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (const tile of this.tiles()) {
      this.paint(tile);
      context.drawImage(this.small, tile.x, tile.y, width * tile.scale, height * tile.scale);
      if (cursor) this.ring(tile);
    }
  }

  // The brush: dark on light on dark, so that it shows on every picture.
  ring({ x, y, scale }) {
    const { context, cursor } = this;
    const radius = (Number($("brush").value) + 0.5) * scale;
    for (const [style, line] of [["#fff", 4], ["#000", 1.5]]) {
      context.beginPath();
      context.arc(x + (cursor.x + 0.5) * scale, y + (cursor.y + 0.5) * scale, radius, 0, 7);
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

// Announces changes to screen readers, but seldom, so that they stay useful.
function tell(what) {
  $("said").textContent = what;
}

function caption(player) {
  const { channels } = player.model;
  $("caption").textContent = {
    colours: "The first four channels: colours over white.",
    alpha: "The alpha channel: white is 0, black is 1.",
    hidden: `Channels 5 to ${channels}, row by row: blue is −1, white 0, red 1.`,
  }[player.view];
}

function clicks(player) {
  const { model } = player;
  const press = {
    pause: () => player.play(!player.playing),
    step: () => {
      player.play(false);
      player.step();
    },
    restart: () => {
      player.reset(model.seed());
      tell("Restarted from the seed.");
    },
    clear: () => {
      player.reset(model.empty());
      tell("All cells are erased: restart from the seed.");
    },
    save: () => player.save(),
  };
  for (const side of ["left", "right", "top", "bottom"]) {
    press[side] = () => {
      player.half(side);
      tell(`Erased the ${side} half.`);
    };
  }
  for (const [id, what] of Object.entries(press)) {
    $(id).addEventListener("click", () => {
      what();
      player.show();
    });
  }
}

function fields(player) {
  const { width, height, channels } = player.model;
  const most = Math.max(2, Math.floor(Math.min(width, height) / 3));
  $("brush").max = most;
  $("brush").value = Math.min(most, Math.max(1, Math.round(Math.min(width, height) / 9)));
  $("view").querySelector("[value=hidden]").disabled = channels === 4;
  const changed = () => {
    $("speed-shown").textContent = `${player.speed} a second`;
    $("speed").setAttribute("aria-valuetext", `${player.speed} steps a second`);
    $("brush-shown").textContent = `radius ${$("brush").value}`;
    $("brush").setAttribute("aria-valuetext", `radius ${$("brush").value} cells`);
    caption(player);
    player.show();
  };
  for (const id of ["speed", "brush", "view"]) $(id).addEventListener("input", changed);
  changed();
}

function pointer(player) {
  const { canvas, cursor, model } = player;
  let drawing = false;
  const moved = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left - canvas.clientLeft) / canvas.clientWidth) * canvas.width;
    const y = ((event.clientY - box.top - canvas.clientTop) / canvas.clientHeight) * canvas.height;
    const inside = (tile) => {
      const [u, v] = [(x - tile.x) / tile.scale, (y - tile.y) / tile.scale];
      return u >= 0 && v >= 0 && u < model.width && v < model.height;
    };
    const tile = player.tiles().find(inside);
    if (!tile) return false;
    const from = { ...cursor };
    Object.assign(cursor, { x: Math.floor((x - tile.x) / tile.scale), y: Math.floor((y - tile.y) / tile.scale), shown: true });
    if (drawing) stroke(from);
    player.touched();
    return true;
  };
  // Fast strokes leave no gaps; in the grid of tiles, one to another tile is no stroke.
  const stroke = (from) => {
    const [dx, dy] = [cursor.x - from.x, cursor.y - from.y];
    const far = player.view === "hidden" && Math.hypot(dx, dy) > Math.min(model.width, model.height) / 2;
    const stops = far ? 1 : Math.max(1, Math.ceil(Math.hypot(dx, dy)));
    for (let i = 1; i <= stops; i++) player.circle(cursor.x - (dx * (stops - i)) / stops, cursor.y - (dy * (stops - i)) / stops);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !moved(event)) return;
    canvas.setPointerCapture(event.pointerId);
    drawing = true;
    player.circle(cursor.x, cursor.y);
  });
  canvas.addEventListener("pointermove", moved);
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (drawing = false));
  canvas.addEventListener("pointerleave", () => {
    cursor.shown = canvas.matches(":focus-visible");
    player.touched();
  });
}

function cursorKeys(player) {
  const { canvas, cursor, model } = player;
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = ways[event.key];
    if (way) {
      const far = event.shiftKey ? 5 : 1;
      cursor.x = Math.min(model.width - 1, Math.max(0, cursor.x + far * way[0]));
      cursor.y = Math.min(model.height - 1, Math.max(0, cursor.y + far * way[1]));
    } else if (event.key === " " || event.key === "Enter") {
      player.circle(cursor.x, cursor.y);
    } else return;
    event.preventDefault();
    cursor.shown = true;
    player.show();
  });
  canvas.addEventListener("focus", () => {
    cursor.shown = canvas.matches(":focus-visible");
    player.show();
  });
  canvas.addEventListener("blur", () => {
    cursor.shown = false;
    player.show();
  });
}

function nudge(id, by) {
  const field = $(id);
  if (field.type === "range") field.value = Number(field.value) + by;
  else do field.selectedIndex = (field.selectedIndex + by) % field.length;
  while (field.selectedOptions[0].disabled);
  field.dispatchEvent(new Event("input"));
}

function shortcuts() {
  const presses = { p: "pause", s: "step", r: "restart", c: "clear", d: "save", 1: "left", 2: "right", 3: "top", 4: "bottom" };
  const nudges = { "-": ["speed", -1], "+": ["speed", 1], "=": ["speed", 1], "[": ["brush", -1], "]": ["brush", 1], v: ["view", 1] };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input, select");
    if (!$("keys").checked || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (presses[key]) $(presses[key]).click();
    else if (nudges[key]) nudge(...nudges[key]);
  });
}

function showTarget(player) {
  const { model, wanted } = player;
  const canvas = $("target");
  const image = new ImageData(model.width, model.height);
  Object.assign(canvas, { width: model.width, height: model.height });
  for (let i = 0; i < wanted.length; i += 4) {
    paintColours(wanted, i, image.data, i);
    image.data[i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Returns a state whose step takes as long as that of a grown picture.
function grown(player) {
  const { cells, lanes } = player.model;
  const state = player.model.empty();
  for (let i = 0; i < 4 * cells; i++) state[(i >> 2) * lanes + (i & 3)] = player.wanted[i];
  return state;
}

function start(model) {
  const player = new Player(model);
  for (const prepare of [showTarget, clicks, fields, pointer, cursorKeys, shortcuts]) prepare(player);
  window.ncatool = {
    Model, ENGINES, replay, bytes, base64, secondsAStep, masks,
    player,
    get state() {
      return model.compact(player.engine.read());
    },
  };
  setTimeout(() => {
    player.use(choose(model, grown(player)));
    requestAnimationFrame((time) => player.frame(time));
  });
}

// A page that contains fire masks runs these steps only, and leaves the state in the document for a comparison.
function parity(model, given) {
  const found = document.createElement("pre");
  try {
    found.textContent = base64(replay(model, given.backend, given.steps, bytes(given.masks)));
    found.id = "parity-state";
  } catch (error) {
    found.textContent = error.message;
    found.id = "parity-error";
  }
  document.body.append(found);
}

const model = new Model(JSON.parse($("model").textContent));
if ($("parity")) parity(model, JSON.parse($("parity").textContent));
else start(model);
