// The rule, computed in two ways: by plain JavaScript and by WebGL2. Both keep a state as
// Float32Array [cell][lane], where lanes are the channels filled up to whole fours with zeros.

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function floats(text) {
  return new Float32Array(bytes(text).buffer);
}

function base64(array) {
  const data = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
  return btoa(text);
}

// The cells of a seed: rows and columns from its middle, and their channels. A page gives them where they are more than
// the plain one cell, whose alpha and hidden channels are 1.
function unpackSeed(given, channels) {
  if (!given) return [{ row: 0, column: 0, values: new Float32Array(channels).fill(1, 3) }];
  const values = floats(given.values);
  return given.places.map(([row, column], i) => ({ row, column, values: values.subarray(i * channels, (i + 1) * channels) }));
}

function modulo(value, size) {
  return ((value % size) + size) % size;
}

// The weights in the layout that both engines use: blocks of four hidden units, each with all its lanes in a row.
class Model {
  constructor(given) {
    Object.assign(this, given);
    const { channels, hidden } = given;
    this.cells = given.height * given.width;
    this.groups = Math.ceil(channels / 4);
    this.lanes = 4 * this.groups;
    this.blocks = Math.ceil(hidden / 4);
    this.threshold = Math.fround(given.threshold);
    this.bias = new Float32Array(4 * this.blocks);
    this.bias.set(floats(given.hiddenBias));
    this.offset = new Float32Array(this.lanes);
    if (given.outputBias) this.offset.set(floats(given.outputBias));
    this.pictures = (given.pictures ?? [given]).map(({ label, target, seedCells }) => ({
      label,
      target,
      seedCells: unpackSeed(seedCells, channels),
    }));
    this.choose(0);
    this.first = this.packFirst(floats(given.hiddenWeight));
    this.second = this.packSecond(floats(given.outputWeight));
  }

  // [block][identity, filter, transposed][lane][unit of the block]
  packFirst(weights) {
    const { channels, hidden, lanes } = this;
    const packed = new Float32Array(this.blocks * 12 * lanes);
    for (let unit = 0; unit < hidden; unit++) {
      for (let input = 0; input < 3 * channels; input++) {
        const row = (unit >> 2) * 3 * lanes + Math.floor(input / channels) * lanes + (input % channels);
        packed[4 * row + (unit & 3)] = weights[unit * 3 * channels + input];
      }
    }
    return packed;
  }

  // [hidden unit][lane]
  packSecond(weights) {
    const packed = new Float32Array(4 * this.blocks * this.lanes);
    for (let channel = 0; channel < this.channels; channel++) {
      for (let unit = 0; unit < this.hidden; unit++) {
        packed[unit * this.lanes + channel] = weights[channel * this.hidden + unit];
      }
    }
    return packed;
  }

  // Chooses which of the model's pictures is grown and compared with.
  choose(index) {
    const { target, seedCells } = this.pictures[index];
    Object.assign(this, { picture: index, target, seedCells });
  }

  empty() {
    return new Float32Array(this.cells * this.lanes);
  }

  seed() {
    const state = this.empty();
    this.sow(state, this.width >> 1, this.height >> 1);
    return state;
  }

  // Writes a seed into a state, around a cell. What lies beyond an edge comes in at the opposite one.
  sow(state, x, y, seedCells = this.seedCells) {
    const { width, height, lanes } = this;
    for (const { row, column, values } of seedCells) {
      state.set(values, (modulo(y + row, height) * width + modulo(x + column, width)) * lanes);
    }
  }

  // The cell nearest to (x, y) around which the whole seed has room: on a grid that wraps it is this one.
  room(x, y) {
    if (this.wrap) return { x, y };
    const fit = (at, offsets, side) => Math.max(-Math.min(...offsets), Math.min(side - 1 - Math.max(...offsets), at));
    return {
      x: fit(x, this.seedCells.map(({ column }) => column), this.width),
      y: fit(y, this.seedCells.map(({ row }) => row), this.height),
    };
  }

  // The distance of the seed's outermost cell from its middle.
  get reach() {
    return Math.max(...this.seedCells.map(({ row, column }) => Math.hypot(row, column)));
  }

  // [cell][channel], without the lanes of padding.
  compact(state) {
    const { cells, channels, lanes } = this;
    const found = new Float32Array(cells * channels);
    for (let cell = 0; cell < cells; cell++) {
      found.set(state.subarray(cell * lanes, cell * lanes + channels), cell * channels);
    }
    return found;
  }
}

// Updates only cells that are alive and fire.
class Plain {
  constructor(model) {
    this.name = "JavaScript";
    this.model = model;
    const size = (model.cells + 1) * model.lanes; // one more cell, always empty, stands for what lies beyond the edge
    this.state = new Float32Array(size);
    this.next = new Float32Array(size);
    this.pre = new Uint8Array(model.cells + 1);
    this.post = new Uint8Array(model.cells + 1);
    this.sight = new Float32Array(3 * model.lanes);
    this.spare = new Float32Array(model.lanes);
    this.neighbours = this.around();
  }

  around() {
    const { height, width, cells, wrap } = this.model;
    const found = new Int32Array(cells * 9);
    for (let cell = 0; cell < cells; cell++) {
      for (let k = 0; k < 9; k++) {
        const y = Math.floor(cell / width) + Math.floor(k / 3) - 1;
        const x = (cell % width) + (k % 3) - 1;
        const inside = y >= 0 && y < height && x >= 0 && x < width;
        const wrapped = ((y + height) % height) * width + ((x + width) % width);
        found[cell * 9 + k] = inside || wrap ? wrapped : cells;
      }
    }
    return found;
  }

  read() {
    return this.state.slice(0, this.model.cells * this.model.lanes);
  }

  write(state) {
    this.state.set(state);
  }

  step(fire) {
    const { cells, lanes } = this.model;
    const { state, next, pre, post } = this;
    next.set(state);
    this.spread(state, pre);
    for (let cell = 0; cell < cells; cell++) {
      if (pre[cell] && fire[cell]) this.update(cell, next, cell * lanes);
    }
    this.spread(next, post);
    for (let cell = 0; cell < cells; cell++) {
      if (pre[cell] && (post[cell] || this.savedByTheDead(cell, fire))) continue;
      next.fill(0, cell * lanes, (cell + 1) * lanes);
    }
    [this.state, this.next] = [next, state];
  }

  // Finds the living cells: those with an alpha above the threshold and their neighbours.
  spread(state, alive) {
    const { cells, lanes, threshold } = this.model;
    alive.fill(0);
    for (let cell = 0; cell < cells; cell++) {
      if (!(state[cell * lanes + 3] > threshold)) continue;
      for (let k = 9 * cell; k < 9 * cell + 9; k++) alive[this.neighbours[k]] = 1;
    }
  }

  // A dead cell's update is masked, but its alpha counts in the second alive mask.
  savedByTheDead(cell, fire) {
    for (let k = 9 * cell; k < 9 * cell + 9; k++) {
      const other = this.neighbours[k];
      if (other === this.model.cells || this.pre[other] || !fire[other]) continue;
      this.update(other, this.spare, 0);
      if (this.spare[3] > this.model.threshold) return true;
    }
    return false;
  }

  perceive(cell) {
    const { cells, lanes, filters } = this.model;
    const { state, sight } = this;
    const own = cell * lanes;
    sight.fill(0);
    for (let lane = 0; lane < lanes; lane++) sight[lane] = state[own + lane];
    for (let k = 0; k < 9; k++) {
      const other = this.neighbours[cell * 9 + k];
      const a = filters[0][k];
      const b = filters[1][k];
      if (other === cells || (a === 0 && b === 0)) continue;
      for (let lane = 0; lane < lanes; lane++) {
        const value = state[other * lanes + lane];
        sight[lanes + lane] += a * value;
        sight[2 * lanes + lane] += b * value;
      }
    }
  }

  // Writes the cell's new state into `out` from `at` on. Four hidden units at once keep their sums in registers.
  update(cell, out, at) {
    this.perceive(cell);
    const { lanes, blocks, first, second, bias, offset } = this.model;
    const { sight } = this;
    for (let lane = 0; lane < lanes; lane++) out[at + lane] = sight[lane] + offset[lane];
    let w = 0;
    for (let unit = 0; unit < 4 * blocks; unit += 4) {
      let a = bias[unit];
      let b = bias[unit + 1];
      let c = bias[unit + 2];
      let d = bias[unit + 3];
      for (let i = 0; i < 3 * lanes; i++, w += 4) {
        const value = sight[i];
        a += value * first[w];
        b += value * first[w + 1];
        c += value * first[w + 2];
        d += value * first[w + 3];
      }
      if (a > 0) this.add(a, second, unit, out, at);
      if (b > 0) this.add(b, second, unit + 1, out, at);
      if (c > 0) this.add(c, second, unit + 2, out, at);
      if (d > 0) this.add(d, second, unit + 3, out, at);
    }
  }

  add(value, second, unit, out, at) {
    const { lanes } = this.model;
    const row = unit * lanes;
    for (let lane = 0; lane < lanes; lane++) out[at + lane] += value * second[row + lane];
  }
}

const CORNERS = `#version 300 es
void main() { gl_Position = vec4(float(gl_VertexID & 1) * 4. - 1., float(gl_VertexID >> 1) * 4. - 1., 0, 1); }`;

function real(value) {
  return Number.isInteger(value) ? `${value}.` : `${value}`;
}

// The beginning of both shaders: textures, and the lookup of cells across the boundary.
function shaderHead(model, count) {
  const { width, height, wrap, threshold } = model;
  const outputs = Array.from({ length: count }, (_, k) => `layout(location = ${k}) out vec4 new${k};`);
  const inside = "all(greaterThanEqual(p, ivec2(0))) && all(lessThan(p, size))";
  return `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler2DArray;
precision highp usampler2D;
uniform sampler2DArray state, updated;
uniform sampler2D first, second, bias, offset;
uniform usampler2D fire;
uniform int blocks;
const ivec2 size = ivec2(${width}, ${height});
${outputs.join("\n")}
vec4 at(sampler2DArray from, ivec2 p, int group) {
  ${wrap ? "p = (p + 2 * size) % size;" : `if (!(${inside})) return vec4(0);`}
  return texelFetch(from, ivec3(p, group), 0);
}
bool opaqueWithin(sampler2DArray from, ivec2 p, int reach) {
  for (int y = -reach; y <= reach; y++)
    for (int x = -reach; x <= reach; x++)
      if (at(from, p + ivec2(x, y), 0).a > ${real(threshold)}) return true;
  return false;
}
`;
}

// Computes all cells that can matter, also dead ones beside the living, as their alpha counts in the second mask.
function updateShader(model, from, count) {
  const { groups, filters } = model;
  const lines = [];
  for (let g = 0; g < groups; g++) {
    lines.push(`see[${g}] = at(state, p, ${g}); see[${groups + g}] = vec4(0); see[${2 * groups + g}] = vec4(0);`);
    for (let k = 0; k < 9; k++) {
      const [a, b] = [filters[0][k], filters[1][k]];
      if (a === 0 && b === 0) continue;
      lines.push(`v = at(state, p + ivec2(${(k % 3) - 1}, ${Math.floor(k / 3) - 1}), ${g});`);
      lines.push(`see[${groups + g}] += ${real(a)} * v; see[${2 * groups + g}] += ${real(b)} * v;`);
    }
  }
  const sums = Array.from({ length: 3 * groups }, (_, i) => {
    const columns = [0, 1, 2, 3].map((c) => `texelFetch(first, ivec2(${4 * i + c}, b), 0)`);
    return `h += mat4(${columns.join(", ")}) * see[${i}];`;
  });
  const each = (line) => Array.from({ length: count }, (_, k) => line(k, from + k)).join("\n");
  return `${shaderHead(model, count)}
void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  ${each((k, g) => `new${k} = at(state, p, ${g});`)}
  if (texelFetch(fire, p, 0).r == 0u || !opaqueWithin(state, p, 2)) return;
  vec4 see[${3 * groups}];
  vec4 v;
  ${lines.join("\n")}
  ${each((k, g) => `new${k} += texelFetch(offset, ivec2(${g}, 0), 0);`)}
  for (int b = 0; b < blocks; b++) {
    vec4 h = texelFetch(bias, ivec2(0, b), 0);
    ${sums.join("\n")}
    h = max(h, 0.);
    ${each((k, g) => {
      const columns = [0, 1, 2, 3].map((c) => `texelFetch(second, ivec2(${g}, 4 * b + ${c}), 0)`);
      return `new${k} += mat4(${columns.join(", ")}) * h;`;
    })}
  }
}`;
}

function maskShader(model, from, count) {
  const copies = Array.from({ length: count }, (_, k) => `new${k} = on ? at(updated, p, ${from + k}) : vec4(0);`);
  return `${shaderHead(model, count)}
void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  bool on = opaqueWithin(state, p, 1) && opaqueWithin(updated, p, 1);
  ${copies.join("\n")}
}`;
}

// Four channels a texel, a layer each; as many layers a pass as the device can write at once.
class WebGL {
  constructor(model) {
    this.name = "WebGL2";
    this.model = model;
    this.canvas = document.createElement("canvas");
    const gl = this.canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new Error("this browser has no WebGL2");
    if (!gl.getExtension("EXT_color_buffer_float")) throw new Error("this device cannot write float textures");
    this.gl = gl;
    this.weights = [
      this.table(model.first, 3 * model.lanes, model.blocks),
      this.table(model.second, model.groups, 4 * model.blocks),
      this.table(model.bias, 1, model.blocks),
      this.table(model.offset, model.groups, 1),
    ];
    this.fire = this.texture(gl.TEXTURE_2D);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.R8UI, model.width, model.height);
    this.chunk = Math.min(gl.getParameter(gl.MAX_DRAW_BUFFERS), gl.getParameter(gl.MAX_COLOR_ATTACHMENTS), 8);
    this.passes = this.compiled();
    [this.now, this.updated, this.then] = [0, 1, 2].map(() => this.layers());
    gl.viewport(0, 0, model.width, model.height);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const error = gl.getError();
    if (error) throw new Error(`WebGL2 fails with error ${error}`);
  }

  texture(kind) {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(kind, texture);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(kind, name, gl.NEAREST);
    return texture;
  }

  table(values, width, height) {
    const { gl } = this;
    const texture = this.texture(gl.TEXTURE_2D);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, width, height, 0, gl.RGBA, gl.FLOAT, values);
    return texture;
  }

  compiled() {
    const found = [];
    for (let from = 0; from < this.model.groups; from += this.chunk) {
      const count = Math.min(this.chunk, this.model.groups - from);
      const [update, mask] = [updateShader, maskShader].map((make) => this.program(make(this.model, from, count)));
      found.push({ from, count, update, mask });
    }
    return found;
  }

  program(source) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, source]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
      throw new Error(`a shader fails: ${logs.join(" ")} ${gl.getProgramInfoLog(program)}`);
    }
    gl.useProgram(program);
    const units = ["state", "updated", "fire", "first", "second", "bias", "offset"];
    units.forEach((name, unit) => gl.uniform1i(gl.getUniformLocation(program, name), unit));
    gl.uniform1i(gl.getUniformLocation(program, "blocks"), this.model.blocks);
    return program;
  }

  // A texture with all groups, and a framebuffer for each pass that writes it.
  layers() {
    const { gl, model } = this;
    const texture = this.texture(gl.TEXTURE_2D_ARRAY);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA32F, model.width, model.height, model.groups);
    const frames = this.passes.map(({ from, count }) => {
      const frame = gl.createFramebuffer();
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      const slots = Array.from({ length: count }, (_, k) => gl.COLOR_ATTACHMENT0 + k);
      slots.forEach((slot, k) => gl.framebufferTextureLayer(gl.FRAMEBUFFER, slot, texture, 0, from + k));
      gl.drawBuffers(slots);
      if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) throw new Error("no float framebuffer");
      return frame;
    });
    return { texture, frames };
  }

  bind(unit, kind, texture) {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(kind, texture);
  }

  draw(kind, into) {
    const { gl } = this;
    this.passes.forEach((pass, i) => {
      gl.useProgram(pass[kind]);
      gl.bindFramebuffer(gl.FRAMEBUFFER, into.frames[i]);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
  }

  step(fire) {
    const { gl, model } = this;
    this.weights.forEach((texture, i) => this.bind(3 + i, gl.TEXTURE_2D, texture));
    this.bind(2, gl.TEXTURE_2D, this.fire);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, model.width, model.height, gl.RED_INTEGER, gl.UNSIGNED_BYTE, fire);
    this.bind(1, gl.TEXTURE_2D_ARRAY, null);
    this.bind(0, gl.TEXTURE_2D_ARRAY, this.now.texture);
    this.draw("update", this.updated);
    this.bind(1, gl.TEXTURE_2D_ARRAY, this.updated.texture);
    this.draw("mask", this.then);
    [this.now, this.then] = [this.then, this.now];
  }

  // The first groups of the state, by default all; the others stay zero.
  read(groups = this.model.groups) {
    const { gl, model } = this;
    const state = model.empty();
    const texels = new Float32Array(4 * model.cells);
    for (let group = 0; group < groups; group++) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.now.frames[Math.floor(group / this.chunk)]);
      gl.readBuffer(gl.COLOR_ATTACHMENT0 + (group % this.chunk));
      gl.readPixels(0, 0, model.width, model.height, gl.RGBA, gl.FLOAT, texels);
      for (let cell = 0; cell < model.cells; cell++) {
        for (let c = 0; c < 4; c++) state[cell * model.lanes + 4 * group + c] = texels[4 * cell + c];
      }
    }
    return state;
  }

  write(state) {
    const { gl, model } = this;
    const { cells, groups, lanes } = model;
    const layered = new Float32Array(cells * lanes);
    for (let i = 0; i < layered.length; i++) {
      const [group, rest] = [Math.floor(i / (4 * cells)), i % (4 * cells)];
      layered[i] = state[(rest >> 2) * lanes + 4 * group + (rest & 3)];
    }
    this.bind(0, gl.TEXTURE_2D_ARRAY, this.now.texture);
    const kind = gl.TEXTURE_2D_ARRAY;
    gl.texSubImage3D(kind, 0, 0, 0, 0, model.width, model.height, groups, gl.RGBA, gl.FLOAT, layered);
  }
}

const ENGINES = { plain: Plain, webgl: WebGL };

// Returns the state that the seed reaches with these masks, [step][cell] as packed bits, lowest first.
function replay(model, backend, steps, masks) {
  const engine = new ENGINES[backend](model);
  engine.write(model.seed());
  const fire = new Uint8Array(model.cells);
  for (let step = 0; step < steps; step++) {
    for (let cell = 0; cell < model.cells; cell++) {
      const bit = step * model.cells + cell;
      fire[cell] = (masks[bit >> 3] >> (bit & 7)) & 1;
    }
    engine.step(fire);
  }
  return model.compact(engine.read());
}

// A random number generator (xorshift, Marsaglia 2003), so that every visit shows the same growth.
function masks(model, start) {
  let word = start;
  const limit = model.fireRate * 2 ** 32;
  const fire = new Uint8Array(model.cells);
  return () => {
    for (let cell = 0; cell < model.cells; cell++) {
      word ^= word << 13;
      word ^= word >>> 17;
      word ^= word << 5;
      fire[cell] = (word >>> 0) < limit ? 1 : 0;
    }
    return fire;
  };
}

// Measures 60 ms of steps; if the first step, which prepares the others, is slow, it alone is measured.
function secondsAStep(engine, state, draw) {
  engine.write(state);
  const begin = performance.now();
  engine.step(draw());
  engine.read(1);
  const start = performance.now();
  if (start - begin > 300) return (start - begin) / 1000;
  let steps = 0;
  do {
    engine.step(draw());
    steps++;
    if (steps % 4 === 0) engine.read(1); // as for a frame: waits until the device has finished
  } while (performance.now() - start < 60);
  engine.read(1);
  return (performance.now() - start) / steps / 1000;
}

// Compares one step of a young picture in both engines, which must agree.
function agree(model, engine, plain, draw) {
  plain.write(model.seed());
  for (let i = 0; i < 12; i++) plain.step(draw());
  engine.write(plain.read());
  const fire = draw();
  plain.step(fire);
  engine.step(fire);
  const [wanted, found] = [plain.read(), engine.read()];
  return wanted.every((value, i) => Math.abs(value - found[i]) <= 1e-3 * (1 + Math.abs(value)));
}

const PLENTY = 120;

// Returns the faster of the engines that work, timed on a grown picture, and the reason. A device that makes plenty of
// steps a second is not compared: on a large grid that would take seconds.
function chooseEngine(model, grown) {
  const plain = new Plain(model);
  const draw = masks(model, 2463534242);
  try {
    const engine = new WebGL(model);
    if (!agree(model, engine, plain, draw)) throw new Error("WebGL2 computes something else here");
    const rounded = (rate) => Number(rate.toPrecision(2));
    const device = rounded(1 / secondsAStep(engine, grown, draw));
    if (device >= PLENTY) return { engine, why: `timed at the start: ${device} steps a second` };
    const share = Math.min(1, 8192 / model.cells); // dead cells cost the script nothing
    const script = rounded(share / secondsAStep(plain, grown.fill(0, share * grown.length), draw));
    const why = `timed at the start: WebGL2 ${device}, JavaScript ${script} steps a second`;
    if (device > script) return { engine, why };
    engine.gl.getExtension("WEBGL_lose_context")?.loseContext();
    return { engine: plain, why };
  } catch (error) {
    return { engine: plain, why: error.message };
  }
}
