// The page of edgezoo. It asks for what is newer than what it has, draws it, and asks again: a slow page sees fewer
// frames, never old ones, and holds nobody up.
"use strict";

const $ = (id) => document.getElementById(id);
const LINE_COLORS = ["#2f7fd6", "#e07b2c", "#2f9e5f", "#a065c9", "#d2527f", "#8a8f3a", "#1a9c96", "#c05a4a"];
const CLASS_COLORS = [
  "#ff7a59", "#41c7f4", "#ffd23f", "#9b6bff", "#35d98c", "#f45bb5", "#3f82ff", "#a9e02a", "#ff9a1f", "#00b8a0",
  "#e8374a", "#c9b5ff", "#2f9444", "#ffc9a3", "#5a54d8", "#c99a63", "#7df5e0", "#bf1a62", "#8fb57f", "#a2522d",
]; // as on recordings
const ENDS = {
  delivered: ["shown", "#2f9e5f"], overwritten: ["a newer one came first", "#e0a63c"], too_old: ["too old", "#d2527f"],
  rate: ["over its rate", "#8a8f98"], damaged: ["damaged", "#a065c9"], closed: ["under way at the end", "#6b6f69"],
  failed: ["failed", "#b3261e"],
};
const SPAN = 121; // points of a chart
const TRY_AGAIN_MS = 1000;
const SHORTEST_MS = 30; // between two questions: several cameras come in one answer

const tiles = new Map(); // by the number of the source
const series = new Map();
let after = 0, tick = 0, picked = null, asked = "", lastEvent = -1, figures = null, dragging = -Infinity;
let controls = {}, turn = 0; // an answer that was asked for before a person's last turn is older than that
let photo = null;

// -- asking

async function ask() {
  for (;;) {
    if (document.hidden) await new Promise((go) => document.addEventListener("visibilitychange", go, { once: true }));
    const began = performance.now(), of = turn;
    try {
      const shown = [...tiles.values()].filter((tile) => tile.live && tile.wanted());
      const show = shown.map((tile) => tile.number).join(",");
      const width = Math.max(0, ...shown.map((tile) => tile.width()));
      if (show !== asked) after = 0;
      asked = show;
      const every = figures === null ? "" : `&show=${show}`;
      const answer = await fetch(`/live?after=${after}&tick=${tick}&width=${width || 960}${every}`);
      if (answer.status === 401) location.reload();
      if (!answer.ok) throw new Error(`${answer.status}`);
      await take(await answer.arrayBuffer(), of);
      link("live");
    } catch (error) {
      if (!(error instanceof TypeError || /^\d+$/.test(error.message))) console.error(error);
      link("lost");
      await sleep(TRY_AGAIN_MS);
    }
    await sleep(SHORTEST_MS - (performance.now() - began));
  }
}

async function take(answer, of) {
  const length = new DataView(answer).getUint32(0);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(answer, 4, length)));
  if (told.figures && of === turn) controls = told.figures.controls;
  if (told.figures) show(told.figures);
  if (told.frames.length && of === turn) after = Math.max(...told.frames.map((frame) => frame.number));
  let at = 4 + length;
  await Promise.all(told.frames.map(async (frame) => {
    const jpeg = new Blob([new Uint8Array(answer, at, frame.bytes)], { type: "image/jpeg" });
    at += frame.bytes;
    const tile = tiles.get(frame.source);
    if (tile) tile.draw(await createImageBitmap(jpeg), frame);
  }));
}

async function change(path, what) {
  controls = await order(path, what);
  turn += 1;
  after = 0;
  if (figures) showControls(figures.runs);
  if (photo) await predict(photo);
}

async function order(path, what) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(what) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

function link(state) {
  if ($("link").dataset.state === state) return;
  $("link").dataset.state = state;
  $("link").textContent = state === "live" ? "connected" : "no answer, trying again";
  document.body.classList.toggle("lost", state === "lost");
}

// -- a tile: one source, or a photo

class Tile {
  constructor(number, live) {
    this.number = number;
    this.live = live;
    this.root = $("tile").content.firstElementChild.cloneNode(true);
    for (const name of ["picture", "image", "marks", "labels", "veil", "name", "state", "figures", "save", "close", "found", "counts"])
      this[name] = this.root.querySelector(`.${name}`);
    this.onScreen = true;
    this.last = null;
    this.name.onclick = () => pick(picked === number ? null : number);
    this.picture.onclick = () => { if (tiles.size > 1) pick(picked === number ? null : number); };
    this.save.onclick = () => keep(number);
    $("tiles").append(this.root);
    watching.observe(this.root);
    resizing.observe(this.picture);
  }

  wanted() { return this.onScreen && !this.root.hidden; }

  width() { return Math.round(this.picture.clientWidth * Math.min(window.devicePixelRatio || 1, 2)); }

  draw(bitmap, frame) {
    const [width, height] = frame.size_wh;
    this.picture.style.aspectRatio = `${width} / ${height}`;
    this.root.style.maxWidth = `calc((100vh - 140px) * ${width / height})`; // no higher than the window
    if (this.image.width !== bitmap.width || this.image.height !== bitmap.height) {
      this.image.width = bitmap.width;
      this.image.height = bitmap.height;
    }
    this.image.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.last = frame;
    this.image.dataset.number = frame.number;
    this.mark();
  }

  mark() {
    const frame = this.last;
    if (!frame) return;
    const { pen, wide, high } = fitted(this.marks);
    const rows = frame.result.detections || [];
    const scale = wide / frame.size_wh[0];
    this.marks.dataset.boxes = rows.length;
    const taken = [];
    const roomy = wide >= 480; // else what was counted stands below
    for (const place of frame.places || []) drawPlace(pen, place, scale, wide, high, roomy ? taken : null);
    for (let k = rows.length - 1; k >= 0; k--) drawBox(pen, rows[k], frame.classes[k], scale);
    if (wide >= 260) rows.forEach((row, k) => drawLabel(pen, row, frame.classes[k], scale, wide, high, taken));
    this.tell(frame, rows, roomy);
  }

  tell(frame, rows, roomy) {
    const labels = frame.result.labels || [];
    if (labels.length || this.labels.children.length) {
      this.labels.replaceChildren(...labels.slice(0, this.picture.clientWidth < 300 ? 1 : 5).map((row, k) => {
        const bar = make("i");
        bar.style.width = `${100 * row.score}%`;
        bar.style.background = colorOf(frame.classes[k]);
        return make("li", make("span", row.label), make("b", percent(row.score)), bar);
      }));
    }
    const counts = {};
    for (const row of rows) counts[row.label] = (counts[row.label] || 0) + 1;
    let words = Object.entries(counts).map(([label, count]) => (count > 1 ? `${label} × ${count}` : label));
    if (labels.length) words = [`${labels[0].label} ${percent(labels[0].score)}`];
    const counted = (frame.places || []).map((place) => `${place.name}  ${countOf(place)}`);
    this.counts.replaceChildren(...(roomy ? [] : counted).map((line) => make("span", line)));
    const text = this.quiet ? "" : words.join("  ·  ") || (frame.result.detections ? "nothing found" : "");
    if (this.found.textContent !== text) {
      this.found.textContent = text;
    }
    this.image.setAttribute("aria-label", `${this.title}: ${[text, ...counted].filter(Boolean).join(", ")}`);
  }

  show(source) {
    this.title = shortOf(source.name);
    this.quiet = source.state !== "live";
    const state = source.error ? "error" : source.state;
    this.name.lastElementChild.textContent = this.title;
    this.name.title = source.name;
    this.name.firstElementChild.style.background = lineColor(source.number);
    this.root.dataset.state = source.state;
    this.state.dataset.state = state;
    this.state.textContent = source.state;
    this.state.title = source.reason;
    const [fps, age] = source.points.at(-1) || series.get(source.number)?.at(-1) || [0, null];
    const told = this.quiet ? [] : [make("b", fps.toFixed(1)), " fps"];
    if (!this.quiet && age !== null) told.push("  ·  ", make("b", String(Math.round(age))), " ms", aside(" old"));
    this.figures.replaceChildren(...told);
    if (this.quiet && this.last) this.tell(this.last, [], this.picture.clientWidth >= 480);
    this.save.hidden = !controls.capture;
    const veiled = { connecting: "Connecting", stalled: "Stalled", lost: "Lost", ended: source.error ? "Given up" : "Ended" }[source.state];
    this.veil.hidden = !veiled;
    if (veiled) {
      const since = source.state === "ended" ? "" : ` for ${duration(source.for_s)}`;
      this.veil.firstElementChild.textContent = veiled + since;
      this.veil.lastElementChild.textContent = source.reason;
    }
  }

  remove() {
    watching.unobserve(this.root);
    resizing.unobserve(this.picture);
    this.root.remove();
    tiles.delete(this.number);
  }
}

const watching = new IntersectionObserver((entries) => {
  for (const entry of entries)
    for (const tile of tiles.values()) if (tile.root === entry.target) tile.onScreen = entry.isIntersecting;
}, { rootMargin: "80px" });
const resizing = new ResizeObserver((entries) => {
  for (const entry of entries) for (const tile of tiles.values()) if (tile.picture === entry.target) tile.mark();
});

// -- drawing on pictures

const colorOf = (id) => CLASS_COLORS[id] || `hsl(${Math.round((id * 0.618034 % 1) * 360)} 75% 60%)`;

function inkOn(color) {
  if (!color.startsWith("#")) return "#18140f";
  const [red, green, blue] = [1, 3, 5].map((k) => (parseInt(color.slice(k, k + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 ? "#18140f" : "#ffffff";
}

function drawBox(pen, row, id, scale) {
  const [x1, y1, x2, y2] = row.box_xyxy.map((side) => side * scale);
  pen.beginPath();
  pen.roundRect(x1, y1, x2 - x1, y2 - y1, 3);
  pen.lineWidth = 4;
  pen.strokeStyle = "rgb(0 0 0 / 0.35)";
  pen.stroke();
  pen.lineWidth = 2;
  pen.strokeStyle = colorOf(id);
  pen.stroke();
}

function drawLabel(pen, row, id, scale, wide, high, taken) {
  const [x1, y1, x2, y2] = row.box_xyxy.map((side) => side * scale);
  const track = row.track === undefined || row.track === null ? "" : ` ${row.track}`;
  const text = `${row.label}${track} ${percent(row.score)}`;
  pen.font = "600 12px system-ui, sans-serif";
  const width = Math.min(pen.measureText(text).width + 10, wide), height = 18;
  const spots = [];
  for (const left of [x1 - 1, x2 + 1 - width])
    for (const top of [y1 - height, y1, y2]) if (top >= 0 && top <= high - height) spots.push([Math.max(0, Math.min(left, wide - width)), top]);
  if (!spots.length) spots.push([Math.max(0, Math.min(x1, wide - width)), Math.max(0, high - height)]);
  const free = spots.find(([x, y]) => !taken.some(([a, b, w]) => x < a + w && a < x + width && y < b + height && b < y + height));
  const [x, y] = free || spots[0];
  taken.push([x, y, width]);
  pen.beginPath();
  pen.roundRect(x, y, width, height, 4);
  pen.fillStyle = colorOf(id);
  pen.fill();
  pen.fillStyle = inkOn(colorOf(id));
  pen.textBaseline = "middle";
  pen.fillText(text, x + 5, y + height / 2 + 0.5, width - 8);
}

function drawPlace(pen, place, scale, wide, high, taken) {
  const points = place.points.map(([x, y]) => [x * scale, y * scale]);
  pen.beginPath();
  points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  if (place.line) arrow(pen, ...points, Math.max(10, Math.min(22, wide / 30)));
  else {
    pen.closePath();
    pen.fillStyle = `rgb(255 255 255 / ${place.told.inside ? 0.22 : 0.1})`;
    pen.fill();
  }
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = 4;
  pen.strokeStyle = "rgb(0 0 0 / 0.55)";
  pen.stroke();
  pen.lineWidth = 2;
  pen.strokeStyle = "#ffffff";
  pen.stroke();
  if (!taken) return;
  const text = `${place.name}  ${countOf(place)}`;
  pen.font = "600 12px system-ui, sans-serif";
  const width = pen.measureText(text).width + 12, height = 20;
  const left = Math.max(6, Math.min(Math.min(...points.map(([x]) => x)) + 6, wide - width - 6));
  const top = Math.max(6, Math.min(Math.min(...points.map(([, y]) => y)) + 6, high - height - 6));
  taken.push([left, top, width]);
  pen.beginPath();
  pen.roundRect(left, top, width, height, 5);
  pen.fillStyle = "rgb(16 18 16 / 0.72)";
  pen.fill();
  pen.fillStyle = "#ffffff";
  pen.textBaseline = "middle";
  pen.fillText(text, left + 6, top + height / 2 + 0.5);
}

// From the middle of a line to the side that is in.
function arrow(pen, [ax, ay], [bx, by], long) {
  const reach = long / Math.max(Math.hypot(bx - ax, by - ay), 1), head = 0.4;
  const x = (ax + bx) / 2, y = (ay + by) / 2, dx = -(by - ay) * reach, dy = (bx - ax) * reach;
  pen.moveTo(x, y);
  pen.lineTo(x + dx, y + dy);
  for (const side of [1, -1]) {
    pen.moveTo(x + dx, y + dy);
    pen.lineTo(x + dx - head * (dx + side * dy), y + dy - head * (dy - side * dx));
  }
}

const countOf = ({ line, told }) => (line ? `${told.in} in, ${told.out} out` : `${told.inside} inside, ${told.entered} entered`);

// -- figures

function show(told) {
  figures = told;
  const missed = told.tick - tick;
  for (const source of told.sources) {
    const points = missed < 0 || !series.has(source.number) ? [] : series.get(source.number);
    points.push(...source.points);
    series.set(source.number, points.slice(-SPAN));
  }
  tick = told.tick;
  showTiles(told.sources);
  showControls(told.runs);
  showStages(told.stages);
  showCounts(told.counts);
  showEvents(told.events);
  drawCharts();
}

function showTiles(sources) {
  const there = new Set(sources.map((source) => source.number));
  for (const tile of [...tiles.values()]) if (tile.live && !there.has(tile.number)) tile.remove();
  for (const key of [...series.keys()]) if (!there.has(key)) series.delete(key);
  if (picked !== null && !tiles.has(picked)) picked = null;
  for (const source of sources) {
    if (!tiles.has(source.number)) tiles.set(source.number, new Tile(source.number, true));
    tiles.get(source.number).show(source);
  }
  arrange(sources);
}

let arranged = "";
function arrange(sources) {
  const shown = [...tiles.values()].filter((tile) => picked === null || tile.number === picked);
  const now = `${picked}|${[...tiles.keys()]}|${sources.map((source) => source.name)}`;
  if (now === arranged) return;
  arranged = now;
  for (const tile of tiles.values()) tile.root.hidden = !shown.includes(tile);
  const narrow = matchMedia("(max-width: 640px)").matches;
  const columns = shown.length < 2 || (narrow && shown.length < 3) ? 1 : shown.length > 4 && !narrow ? 3 : 2;
  $("tiles").style.setProperty("--columns", columns);
  $("tiles").classList.toggle("many", narrow && columns > 1);
  $("empty").hidden = tiles.size > 0;
  const several = sources.length > 1;
  $("pick").hidden = !several;
  if (several) {
    const button = (text, number) => {
      const made = make("button", text);
      made.type = "button";
      made.setAttribute("aria-pressed", String(picked === number));
      made.onclick = () => pick(number);
      return made;
    };
    $("pick").replaceChildren(button("All", null), ...sources.map((source) => button(shortOf(source.name), source.number)));
  }
}

function pick(number) {
  picked = number;
  arranged = "";
  if (figures) showTiles(figures.sources);
}

function showControls(runs) {
  $("model-name").textContent = runs.model || (controls.models.length ? "starting" : "–");
  const several = controls.models.length > 1;
  $("model-name").hidden = several; // the list says it
  $("model-row").hidden = !several;
  if (several && $("model").dataset.models !== String(controls.models)) {
    $("model").dataset.models = String(controls.models);
    $("model").replaceChildren(...controls.models.map((name) => { const option = make("option", name); option.value = name; return option; }));
  }
  if (several && document.activeElement !== $("model")) $("model").value = controls.model || "";
  const threads = runs.threads ? `, ${runs.threads} thread${runs.threads > 1 ? "s" : ""}` : "";
  const workers = runs.workers > 1 ? `, ${runs.workers} workers` : "";
  const inside = runs.precisions && runs.precisions.length ? ` (in ${runs.precisions.join(" and ")})` : "";
  list($("runs"), !runs.model ? [] : [
    ["Precision", runs.precision + inside], ["Runtime", `${runs.backend} ${runs.version}`], ["Device", runs.device + threads + workers],
  ]);
  $("threshold").min = controls.least;
  if (performance.now() - dragging > 1500) $("threshold").value = controls.threshold;
  $("threshold-value").textContent = percent(Number($("threshold").value));
  $("photo-row").hidden = !controls.photos;
  if (controls.photos) $("empty-why").textContent = "Choose a photo, or drop one here. It runs on this device and is not kept.";
  if (controls.photos && !$("empty").contains($("photo-row")) && !$("empty").hidden) $("empty").append($("photo-row"));
  else if ($("empty").hidden && $("empty").contains($("photo-row"))) $("h-model").parentElement.append($("photo-row"));
}

function showStages(stages) {
  const names = { capture: "capture", wait: "wait", prepare: "prepare", infer: "infer", read: "read", sink: "show" };
  const rows = Object.entries(stages).filter(([name]) => name !== "capture"); // of a camera it is the wait for it
  $("stages").parentElement.hidden = !rows.length;
  const most = Math.max(1e-9, ...rows.map(([, stage]) => stage.mean_ms || 0));
  $("stages").tBodies[0].replaceChildren(...rows.map(([name, stage]) => {
    const bar = make("i");
    bar.style.width = `${(100 * (stage.mean_ms || 0)) / most}%`;
    return make("tr", make("td", names[name] || name), make("td", bar), make("td", ms(stage.mean_ms)), make("td", ms(stage.p99_ms)));
  }));
}

function showCounts(counts) {
  const ends = { delivered: counts.delivered, ...counts.dropped, failed: counts.failed };
  const rows = Object.entries(ends).filter(([end, count]) => count || end === "delivered");
  $("counts").parentElement.hidden = counts.grabbed === undefined;
  $("ends").replaceChildren(...rows.filter(([, count]) => count).map(([end, count]) => {
    const part = make("i");
    part.style.flexGrow = count;
    part.style.background = (ENDS[end] || ["", "#8a8f98"])[1];
    return part;
  }));
  list($("counts"), rows.map(([end, count]) => {
    const [words, color] = ENDS[end] || [end.replaceAll("_", " "), "#8a8f98"];
    const dot = make("i");
    dot.style.background = color;
    return [[dot, words], (count || 0).toLocaleString("en")];
  }));
}

function showEvents(events) {
  const newest = events.length ? events.at(-1).number : 0;
  if (newest === lastEvent) return;
  lastEvent = newest;
  $("events").replaceChildren(...events.slice().reverse().map((event) => {
    const time = make("time", new Date(event.at_s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }));
    const state = make("span", event.error ? "given up" : event.event);
    state.className = "state";
    state.dataset.state = event.error ? "error" : event.event;
    const item = make("li", time, state, make("b", shortOf(event.source)), make("q", event.message));
    item.title = `${event.source}: ${event.message}`;
    return item;
  }));
}

// -- charts: the last minute, now at the right

const lineColor = (number) => LINE_COLORS[(number - 1) % LINE_COLORS.length];

function drawCharts() {
  const shown = [...series].filter(([number]) => picked === null || number === picked);
  drawChart($("fps"), shown, 0, null);
  drawChart($("age"), shown, 1, shown.length === 1 ? 2 : null);
  const last = (k) => shown.map(([, points]) => points.at(-1)?.[k]).filter((value) => value !== null && value !== undefined);
  const ages = last(1), rates = last(0);
  $("age-now").textContent = ages.length ? `${Math.round(Math.max(...ages))} ms` : "–";
  $("fps-now").textContent = rates.length ? rates.reduce((sum, rate) => sum + rate, 0).toFixed(1) + (rates.length > 1 ? " in all" : "") : "–";
  for (const name of ["age", "fps"]) $(name).parentElement.hidden = !shown.length;
}

function drawChart(canvas, shown, k, band) {
  const { pen, wide, high } = fitted(canvas);
  const style = getComputedStyle(document.documentElement);
  const most = Math.max(...shown.flatMap(([, points]) => points.map((point) => point[band ?? k] ?? 0)), 0);
  const top = nice(most);
  const left = 30, bottom = high - 4, tall = bottom - 8;
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (const part of [0, 0.5, 1]) {
    const y = Math.round(bottom - part * tall) + 0.5;
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(wide, y);
    pen.stroke();
    pen.fillStyle = style.getPropertyValue("--quiet");
    if (part) pen.fillText(String(+(top * part).toPrecision(3)), 0, y);
  }
  const at = (points, index, value) => [wide - ((points.length - 1 - index) * (wide - left)) / (SPAN - 1), bottom - (Math.min(value, top) / top) * tall];
  for (const [number, points] of shown) {
    const color = lineColor(number);
    if (band !== null) area(pen, points, k, band, at, color);
    pen.strokeStyle = color;
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawing = false;
    points.forEach((point, index) => {
      if (point[k] === null) { drawing = false; return; }
      const [x, y] = at(points, index, point[k]);
      if (drawing) pen.lineTo(x, y); else pen.moveTo(x, y);
      drawing = true;
    });
    pen.stroke();
  }
  canvas.dataset.points = Math.max(0, ...shown.map(([, points]) => points.length));
}

function area(pen, points, low, high, at, color) {
  pen.fillStyle = color;
  pen.globalAlpha = 0.16;
  let run = [];
  const fill = () => {
    if (run.length > 1) {
      pen.beginPath();
      run.forEach((index) => pen.lineTo(...at(points, index, points[index][high])));
      run.reverse().forEach((index) => pen.lineTo(...at(points, index, points[index][low])));
      pen.fill();
    }
    run = [];
  };
  points.forEach((point, index) => { if (point[low] === null) fill(); else run.push(index); });
  fill();
  pen.globalAlpha = 1;
}

function nice(most) {
  const step = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((k) => k * step).find((top) => top >= most) || most;
}

// -- what a person does

let sending = 0;
$("threshold").oninput = () => {
  dragging = performance.now();
  $("threshold-value").textContent = percent(Number($("threshold").value));
  clearTimeout(sending);
  sending = setTimeout(() => {
    change("/live/threshold", { threshold: Number($("threshold").value) }).catch(toast);
  }, 60);
};

$("model").onchange = () => {
  dragging = -Infinity; // its threshold is another one
  change("/live/model", { model: $("model").value }).catch(toast);
};

function keep(number) {
  const picture = tiles.get(number)?.picture;
  order("/live/capture", { source: number }).then(({ saved }) => {
    toast(`Kept as ${saved}`);
    picture?.classList.remove("flash");
    void picture?.offsetWidth;
    picture?.classList.add("flash");
  }, toast);
}

let predictions = 0;
async function predict(file) {
  const mine = ++predictions, again = file === photo;
  photo = file;
  try {
    const query = new URLSearchParams({ model: controls.model, score: controls.threshold });
    const [answer, bitmap] = await Promise.all([fetch(`/v1/predict?${query}`, { method: "POST", body: file }), createImageBitmap(file)]);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    if (mine !== predictions) { bitmap.close(); return; }
    const { width, height, classes, ms: took, ...result } = told.results[0];
    const tile = tiles.get("photo") || new Tile("photo", false);
    tiles.set("photo", tile);
    tile.title = file.name || "photo";
    tile.name.lastElementChild.textContent = tile.title;
    tile.figures.replaceChildren(make("b", told.ms.toFixed(0)), make("span", " ms"));
    tile.close.hidden = false;
    tile.close.onclick = () => { photo = null; predictions += 1; tile.remove(); pick(null); };
    if (!again) pick(null);
    tile.draw(bitmap, { size_wh: [width, height], classes, result, number: 0 });
    if (!again) tile.root.scrollIntoView({ block: "nearest" });
  } catch (error) {
    toast(error);
  }
}

$("photo").onchange = () => { if ($("photo").files[0]) predict($("photo").files[0]); $("photo").value = ""; };
addEventListener("dragover", (event) => {
  if (controls.photos) { event.preventDefault(); document.body.classList.add("dropping"); }
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!controls.photos) return;
  event.preventDefault();
  if (event.dataTransfer.files[0]) predict(event.dataTransfer.files[0]);
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("select, textarea, input:not([type=range])")) return;
  const sources = figures ? figures.sources : [];
  if (event.key === "Escape" || event.key === "0") pick(null);
  else if (/^[1-9]$/.test(event.key) && sources[event.key - 1]) pick(sources[event.key - 1].number);
  else if (event.key === "s" && controls.capture) {
    const number = picked ?? (sources.length === 1 ? sources[0].number : null);
    if (number === null) toast("Pick a source first"); else keep(number);
  }
});
addEventListener("resize", () => { arranged = ""; if (figures) { showTiles(figures.sources); drawCharts(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (figures) drawCharts(); });

// -- small things

const sleep = (milliseconds) => new Promise((go) => setTimeout(go, Math.max(0, milliseconds)));
const shortOf = (name) => (/^\w+:\/\//.test(name) ? name.replace(/^\w+:\/\//, "") : name.replace(/^(?:\w+:)?.*\//, "")) || name;
const percent = (part) => `${Math.round(100 * part)} %`;
const ms = (value) => (value === null || value === undefined ? "–" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function make(tag, ...content) {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
}

function aside(text) {
  const made = make("span", text);
  made.className = "aside";
  return made;
}

function list(target, rows) {
  target.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", ...[name].flat()), make("dd", value)]));
}

function fitted(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 3), wide = canvas.clientWidth, high = canvas.clientHeight;
  if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, wide, high);
  return { pen, wide, high };
}

let toasting = 0;
function toast(what) {
  $("toast").textContent = what instanceof Error ? what.message : what;
  $("toast").classList.add("shown");
  clearTimeout(toasting);
  toasting = setTimeout(() => $("toast").classList.remove("shown"), 4000);
}

ask();
