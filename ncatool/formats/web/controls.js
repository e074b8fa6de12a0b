// The controls: what visitors press, point at and choose.

// Announces changes to screen readers, but seldom, so that they stay useful.
function tell(what) {
  $("said").textContent = what;
}

function caption(player) {
  const { channels } = player.model;
  const { name, ink } = player.ground;
  $("caption").textContent = {
    colours: `The first four channels: colours over ${name === "dark" ? "a dark ground" : name}.`,
    alpha: `The alpha channel: ${name} is 0, ${ink ? "white" : "black"} is 1.`,
    hidden: `Channels 5 to ${channels}, row by row: blue is −1, ${name} 0, red 1.`,
  }[player.view];
}

function clicks(player) {
  const press = {
    pause: () => player.play(!player.playing),
    step: () => {
      player.play(false);
      player.step();
    },
    restart: () => {
      player.reset(player.model.seed());
      tell(`Restarted from the seed${player.ofPicture}.`);
    },
    clear: () => {
      player.reset(player.model.empty());
      if (player.planting) player.play(false);
      tell(player.planting ? "All cells are erased: click where seeds should be, then Play." : "All cells are erased: restart from the seed.");
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

// Shows what the fields say.
function update(player) {
  $("speed-shown").textContent = `${player.speed} a second`;
  $("speed").setAttribute("aria-valuetext", `${player.speed} steps a second`);
  $("brush-shown").textContent = `radius ${$("brush").value}`;
  $("brush").setAttribute("aria-valuetext", `radius ${$("brush").value} cells`);
  caption(player);
  const hint = player.planting ? "grows where you click; Restart grows it alone in the middle" : "grows by Restart; clicks erase";
  if ($("picture-hint")) $("picture-hint").textContent = hint;
  showTarget(player);
  player.show();
}

// Sets the bounds of the fields to those of the model.
function bound({ model: { width, height, channels } }) {
  const most = Math.max(2, Math.floor(Math.min(width, height) / 3));
  $("brush").max = most;
  $("brush").value = Math.min(most, Math.max(1, Math.round(Math.min(width, height) / 9)));
  $("view").querySelector("[value=hidden]").disabled = channels === 4;
  if (channels === 4 && $("view").value === "hidden") $("view").value = "colours";
}

function fields(player) {
  for (const id of ["speed", "brush", "view", "ground", "erases", "plants"]) {
    $(id).addEventListener("input", () => update(player));
  }
  $("plants").addEventListener("input", () => tell("Click to plant a seed. Clear empties the grid first."));
  $("erases").addEventListener("input", () => tell("Click to erase."));
  DARK_SCHEME.addEventListener("change", () => update(player));
}

function pointer(player) {
  const { canvas } = player;
  let drawing = false;
  const moved = (event) => {
    const { cursor, model } = player;
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
    const { cursor, model } = player;
    const [dx, dy] = [cursor.x - from.x, cursor.y - from.y];
    const far = player.view === "hidden" && Math.hypot(dx, dy) > Math.min(model.width, model.height) / 2;
    const stops = far ? 1 : Math.max(1, Math.ceil(Math.hypot(dx, dy)));
    for (let i = 1; i <= stops; i++) player.circle(cursor.x - (dx * (stops - i)) / stops, cursor.y - (dy * (stops - i)) / stops);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !moved(event)) return;
    canvas.setPointerCapture(event.pointerId);
    drawing = !player.planting;
    player.act(player.cursor.x, player.cursor.y);
  });
  canvas.addEventListener("pointermove", moved);
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (drawing = false));
  canvas.addEventListener("pointerleave", () => {
    player.cursor.shown = canvas.matches(":focus-visible");
    player.touched();
  });
}

function cursorKeys(player) {
  const { canvas } = player;
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { cursor, model } = player;
    const way = ways[event.key];
    if (way) {
      const far = event.shiftKey ? 5 : 1;
      cursor.x = Math.min(model.width - 1, Math.max(0, cursor.x + far * way[0]));
      cursor.y = Math.min(model.height - 1, Math.max(0, cursor.y + far * way[1]));
    } else if (event.key === " " || event.key === "Enter") {
      player.act(cursor.x, cursor.y);
    } else return;
    event.preventDefault();
    cursor.shown = true;
    player.show();
  });
  canvas.addEventListener("focus", () => {
    player.cursor.shown = canvas.matches(":focus-visible");
    player.show();
  });
  canvas.addEventListener("blur", () => {
    player.cursor.shown = false;
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
  const nudges = { "-": ["speed", -1], "+": ["speed", 1], "=": ["speed", 1], "[": ["brush", -1], "]": ["brush", 1], v: ["view", 1], n: ["choice", 1], g: ["picture", 1] };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input:not([type=radio]), select");
    if (!$("keys").checked || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (presses[key]) $(presses[key]).click();
    else if (nudges[key] && $(nudges[key][0])?.offsetParent) nudge(...nudges[key]);
    else if (key === "e") $($("plants").checked ? "erases" : "plants").click();
  });
}

function showTarget(player) {
  const { model, wanted } = player;
  const canvas = $("target");
  const image = new ImageData(model.width, model.height);
  Object.assign(canvas, { width: model.width, height: model.height });
  for (let i = 0; i < wanted.length; i += 4) {
    paintColours(wanted, i, image.data, i, player.ground);
    image.data[i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const { pictures, picture } = model;
  $("target-name").textContent = pictures.length > 1 ? `target: ${pictures[picture].label}` : "target";
}

// Returns a state whose step takes as long as that of a grown picture.
function grown(player) {
  const { cells, lanes } = player.model;
  const state = player.model.empty();
  for (let i = 0; i < 4 * cells; i++) state[(i >> 2) * lanes + (i & 3)] = player.wanted[i];
  return state;
}

// Lists the pictures of a model that grows several; a click then plants the chosen one.
function listPictures({ pictures, picture }) {
  if (!$("picture")) return;
  $("picture").replaceChildren(...pictures.map(({ label }, i) => new Option(label, i, false, i === picture)));
  $("pictures").hidden = pictures.length === 1;
  $("alone").hidden = pictures.length > 1;
  if (pictures.length > 1) $("plants").checked = true;
}

// Shows one of the page's models: its title, its table, and its cells.
function choose(player, models, index) {
  const given = models[index];
  const model = (player.known[index] ??= new Model(given));
  player.load(model);
  document.title = `${given.title}`;
  document.querySelector("h1").textContent = given.label;
  $("about").textContent = given.subject;
  $("sight").textContent = given.sight;
  document.querySelectorAll(".facts").forEach((section, i) => (section.hidden = i !== index));
  $("backend").textContent = "–";
  bound(player);
  listPictures(model);
  update(player);
  setTimeout(() => {
    if (player.model === model) player.use(chooseEngine(model, grown(player)));
  });
}

function start(models) {
  const player = new Player();
  player.known = [];
  choose(player, models, 0);
  for (const prepare of [clicks, fields, pointer, cursorKeys, shortcuts]) prepare(player);
  $("choice")?.addEventListener("input", () => {
    choose(player, models, $("choice").selectedIndex);
    tell(`${models[$("choice").selectedIndex].label} grows from its seed.`);
  });
  $("picture")?.addEventListener("input", () => {
    player.choose($("picture").selectedIndex);
    update(player);
    tell(`A click plants, and Restart grows, ${player.model.pictures[player.model.picture].label}.`);
  });
  window.ncatool = {
    Model, ENGINES, replay, bytes, base64, secondsAStep, masks,
    player,
    get state() {
      return player.model.compact(player.engine.read());
    },
  };
  setTimeout(() => requestAnimationFrame((time) => player.frame(time)));
}

// A page that contains fire masks, for each picture of each model, runs these steps only, and leaves the states for a comparison.
function parity(models, given) {
  given.masks.forEach((fires, i) => {
    const found = document.createElement("pre");
    try {
      const model = new Model(models[i]);
      const states = fires.map((fire, picture) => {
        model.choose(picture);
        return replay(model, given.backend, given.steps, bytes(fire));
      });
      found.textContent = states.map(base64).join(" ");
      found.id = `parity-state-${i}`;
    } catch (error) {
      found.textContent = error.message;
      found.id = "parity-error";
    }
    document.body.append(found);
  });
}

const models = JSON.parse($("models").textContent);
if ($("parity")) parity(models, JSON.parse($("parity").textContent));
else start(models);
