"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const on = (id, kind, listen) => byId(id).addEventListener(kind, listen);

/** Makes an element; keys that begin with `on` are listeners, `style` is an object. */
function make(tag, fields = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [key, value] of Object.entries(fields)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, own] of Object.entries(value)) element.style.setProperty(name, own);
    else if (value !== false && value !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const button = (fields, ...children) => make("button", {type: "button", ...fields}, ...children);

/** A table of a head of cells, and rows of cells. */
const table = (fields, head, rows) =>
  make("table", fields, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows.map(row => make("tr", {}, ...row))));

/** Keeps a value in the browser; a browser that refuses keeps it until the page is closed. */
const store = {
  read: (key, otherwise) => {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  write: (key, value) => {
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {}
  },
};

// ---- theme

const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  store.write("unets:theme", theme);
}
on("theme", "click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
setTheme(store.read("unets:theme", "system"));

// ---- scales: from values to 0..1 and back, with ticks

const WAYS = {
  linear: [value => value, place => place],
  log: [value => Math.log10(value), place => 10 ** place],
  // What is wrong counts by factors: 0.99 and 0.999 are as far apart as 0.9 and 0.99.
  score: [value => -Math.log10(Math.max(1 - value, 1e-6)), place => 1 - 10 ** -place],
};

function buildScale(kind, values) {
  const [there, back] = WAYS[kind];
  const places = values.map(there).filter(Number.isFinite);
  let low = places.reduce((a, b) => Math.min(a, b), Infinity),
    high = places.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(low < high)) [low, high] = [(low || 0) - 0.5, (low || 0) + 0.5];
  const to = value => (there(value) - low) / (high - low),
    from = place => back(low + place * (high - low));
  const pick = own => {
    const ticks = [];
    for (const [value, text] of listTicks(own, from(0), from(1)))
      if (to(value) >= -0.001 && to(value) <= 1.001 && ticks.every(tick => Math.abs(to(tick.value) - to(value)) > 0.13))
        ticks.push({value, text});
    return ticks;
  };
  const ticks = pick(kind); // between 0.91 and 0.95 no value is as round as those of the other scales
  return {to, from, ticks: ticks.length > 1 ? ticks : pick("linear")};
}

/** Lists round values between two, the roundest first: those after them give way. */
function listTicks(kind, low, high) {
  if (kind === "linear") {
    const raw = (high - low) / 5,
      power = 10 ** Math.floor(Math.log10(raw)),
      step = power * [1, 2, 5, 10].find(own => own * power >= raw);
    const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
    return Array.from({length: Math.max(count, 0)}, (_, number) => (Math.ceil(low / step) + number) * step).map(
      value => [value, String(+value.toPrecision(4))],
    );
  }
  const decades = Array.from({length: 13}, (_, number) => number - 7);
  const values = [1, 5, 2].flatMap(own => decades.map(decade => own * 10 ** decade));
  if (kind === "log") return values.map(value => [value, String(+value.toPrecision(1))]);
  return values.filter(value => value <= 1).map(value => [1 - value, String(+(1 - value).toFixed(6))]);
}

// ---- charts: small SVGs, drawn again when their width changes

const HEIGHT = 190,
  LEFT = 52,
  BOTTOM = 24;

/** A chart; `draw(X, Y, width)` returns marks for functions from values to pixels. `label` is for those who hear it. */
function chart(title, label, x, y, draw, {listen = () => {}, footer = ""} = {}) {
  const svg = make("svg:svg", {role: "img", "aria-label": label, height: HEIGHT});
  const figure = make("figure", {class: "chart"}, make("figcaption", {}, title), svg, footer);
  const render = () => {
    const width = Math.max(figure.clientWidth, 200);
    const X = value => LEFT + x.to(value) * (width - LEFT - 8),
      Y = value => 6 + (1 - y.to(value)) * (HEIGHT - BOTTOM - 12);
    svg.setAttribute("width", width);
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const grid = y.ticks.flatMap(tick => [
      make("svg:line", {class: "grid", x1: LEFT, x2: width - 8, y1: Y(tick.value), y2: Y(tick.value)}),
      make("svg:text", {x: LEFT - 6, y: Y(tick.value) + 4, "text-anchor": "end"}, tick.text),
    ]);
    const axis = x.ticks.map(tick => make("svg:text", {x: X(tick.value), y: HEIGHT - 6, "text-anchor": "middle"}, tick.text));
    svg.replaceChildren(...grid, ...axis, ...draw(X, Y, width));
  };
  let known = 0;
  new ResizeObserver(() => {
    if (figure.clientWidth !== known) {
      known = figure.clientWidth;
      render();
    }
  }).observe(figure);
  listen(svg, event => x.from((event.clientX - svg.getBoundingClientRect().left - LEFT) / (svg.clientWidth - LEFT - 8)));
  return figure;
}

const line = (X, Y, xs, ys, name) =>
  make("svg:path", {
    class: name,
    d: xs
      .map((value, number) => [value, ys[number]])
      .filter(pair => pair[1] != null)
      .map(([a, b], number) => `${number ? "L" : "M"}${X(a).toFixed(1)} ${Y(b).toFixed(1)}`)
      .join(""),
  });

function drawTraining(host, runs) {
  for (const [experiment, own] of Map.groupBy(runs, run => run.experiment)) {
    const names = [...new Set(own.flatMap(run => Object.keys(run.series)).map(name => name.replace(/^val_/, "")))];
    const folds = own.map((run, number) => make("span", {class: `c${number % 6}`}, run.fold === "" ? "" : ` fold ${run.fold}`));
    host.append(
      make("h3", {}, experiment, make("small", {}, ...folds)),
      make("div", {class: "charts"}, ...names.map(name => drawSeries(experiment, own, name)).filter(Boolean)),
    );
  }
  host.append(make("p", {class: "soft"}, `Solid: validation; dashed: training${runs.some(run => run.best.length) ? "; a ring: the epoch whose weights predict" : ""}.`));
}

/** A series of all folds, training and validation, by epoch; pointer and arrow keys read it. */
function drawSeries(experiment, runs, name) {
  const of = key => runs.flatMap(run => run.series[key] ?? []).filter(value => value !== null);
  const values = [...of(name), ...of("val_" + name)];
  if (!values.length) return null;
  const kind = /dice|iou/.test(name) ? "score" : values.every(value => value > 0) ? "log" : "linear";
  const epochs = runs.flatMap(run => run.epochs);
  const main = of("val_" + name).length ? "val_" + name : name;
  const read = epoch =>
    runs
      .map(run => [run.fold, run.series[main]?.[run.epochs.indexOf(epoch)]])
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([fold, value]) => `${fold === "" ? "" : `fold ${fold}: `}${+value.toPrecision(5)}`)
      .join(", ");
  const last = Math.max(...epochs);
  const readout = make("p", {class: "soft readout", role: "status"}, `epoch ${last}: ${read(last)}`);
  let current = last;
  const show = epoch => {
    current = Math.min(Math.max(epoch, 1), last);
    readout.textContent = `epoch ${current}: ${read(current)}`;
  };
  const x = buildScale("linear", epochs);
  x.ticks = x.ticks.filter(tick => Number.isInteger(tick.value));
  const draw = (X, Y) =>
    runs.flatMap((run, number) => [
      line(X, Y, run.epochs, run.series[name] ?? [], `line c${number % 6}${main === name ? "" : " dashed"}`),
      ...(main === name ? [] : [line(X, Y, run.epochs, run.series[main] ?? [], `line c${number % 6}`)]),
      ...run.best
        .filter(epoch => /dice|iou/.test(name) && run.series[main]?.[epoch - 1] != null)
        .map(epoch => make("svg:circle", {class: `ring c${number % 6}`, r: 4, cx: X(epoch), cy: Y(run.series[main][epoch - 1])})),
    ]);
  const listen = (svg, at) => {
    svg.setAttribute("tabindex", 0);
    svg.addEventListener("pointermove", event => show(Math.round(at(event))));
    svg.addEventListener("keydown", event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (step) show(current + step);
      if (step) event.preventDefault();
    });
  };
  const title = {loss: "Loss", dice: "Dice at the network's own resolution", iou: "IoU", learning_rate: "Learning rate at the end of the epoch"}[name] ?? name.replaceAll("_", " ");
  const label = `${title} of ${experiment} over ${last} epochs; at the end ${read(last)}`;
  return chart(title, label, x, buildScale(kind, values), draw, {listen, footer: readout});
}

/** Where errors come from: threshold, precision and recall, calibration, distance from the contour, confusion. */
function drawErrors(host, errors) {
  if (errors.thresholds.length) host.append(...drawCurves(errors));
  const wrong = errors.distances.reduce((a, b) => a + b, 0);
  if (wrong) host.append(drawDistances(errors, wrong));
  if (errors.confusion) host.append(drawConfusion(errors.names, errors.confusion));
}

function drawCurves(curves) {
  const share = buildScale("linear", [0, 1]),
    [both, predicted, real] = curves.pixels,
    precision = both.map((count, number) => count / Math.max(predicted[number], 1)),
    recall = both.map((count, number) => count / Math.max(real[number], 1)),
    [pixels, objects] = curves.calibration,
    filled = [...pixels.keys()].filter(bin => pixels[bin]),
    probabilities = filled.map(bin => (bin + 0.5) / pixels.length),
    shares = filled.map(bin => objects[bin] / pixels[bin]);
  const best = curves.scores.indexOf(Math.max(...curves.scores));
  return [
    chart(
      `${curves.metric} by threshold, before post-processing`,
      `${curves.metric} by threshold; the best of these is ${curves.scores[best]} at ${curves.thresholds[best]}`,
      share,
      buildScale("score", curves.scores),
      (X, Y) => [
        ...(curves.chosen === null
          ? []
          : [make("svg:line", {class: "chosen", x1: X(curves.chosen), x2: X(curves.chosen), y1: 6, y2: HEIGHT - BOTTOM - 6})]),
        line(X, Y, curves.thresholds, curves.scores, "line c0"),
      ],
    ),
    chart(
      "Precision by recall, pixels of all images",
      `precision from ${precision[0].toFixed(4)} to ${precision.at(-1).toFixed(4)}, recall from ${recall[0].toFixed(4)} to ${recall.at(-1).toFixed(4)}`,
      buildScale("score", recall),
      buildScale("score", precision),
      (X, Y) => [line(X, Y, recall, precision, "line c0")],
    ),
    chart(
      "Calibration: share of object pixels by probability",
      "how often a pixel of a probability is object",
      share,
      share,
      (X, Y) => [
        line(X, Y, [0, 1], [0, 1], "line dashed soft-line"),
        line(X, Y, probabilities, shares, "line c0"),
        ...probabilities.map((value, number) =>
          make("svg:circle", {class: "ring c0", r: 3, cx: X(value), cy: Y(shares[number])}),
        ),
      ],
    ),
  ];
}

/** Bars of the share of wrong pixels in each bin of distances. */
function drawDistances({edges, distances}, wrong) {
  const names = [...edges.map(edge => `≤ ${edge}`), `> ${edges.at(-1)}`, "absent"],
    short = [...edges, `>${edges.at(-1)}`, "none"], // a phone has no room for more
    isPresent = distances.at(-1) > 0,
    shares = distances.slice(0, isPresent ? names.length : -1).map(count => (100 * count) / wrong);
  const x = {to: place => place / shares.length, from: place => place * shares.length,
    ticks: shares.map((_, number) => ({value: number + 0.5, text: short[number]}))};
  const y = buildScale("linear", [0, Math.max(...shares)]);
  const draw = (X, Y) =>
    shares.map((share, number) =>
      make("svg:rect", {class: "bin still", x: X(number) + 1, width: X(1) - X(0) - 2, y: Y(share), height: Y(0) - Y(share)},
        make("svg:title", {}, `${names[number]}: ${share.toFixed(1)} %`)));
  const near = shares.slice(0, 2).reduce((a, b) => a + b, 0);
  return chart("Wrong pixels, %, by distance from the contour of the ground truth, at most so many px",
    `of ${wrong} wrong pixels ${near.toFixed(0)} % lie within ${edges[1]} pixels of the contour`, x, y, draw,
    {footer: isPresent ? make("p", {class: "soft readout"}, "none: the image has no pixel of the class") : ""});
}

/** A table of shares: rows are the ground truth's classes, columns those of the masks; at the right the class's IoU. */
function drawConfusion(names, counts) {
  const percent = (count, row) => (row ? (100 * count) / row : 0),
    add = values => values.reduce((a, b) => a + b, 0),
    sums = counts.map(add),
    measureIou = own => {
      const union = sums[own] + add(counts.map(row => row[own])) - counts[own][own];
      return union ? (counts[own][own] / union).toFixed(3) : "";
    },
    head = name => make("th", {scope: "col", class: "num"}, name);
  const rows = counts.map((row, own) => [
    make("th", {scope: "row"}, names[own]),
    ...row.map((count, other) => {
      const share = percent(count, sums[own]);
      return make("td", {class: own === other ? "num right-class" : "num", style: {"--share": `${Math.min(own === other ? share * 0.5 : share * 2, 70)}%`}},
        share ? (share < 0.05 ? "< 0.1" : share.toFixed(1)) : "");
    }),
    make("td", {class: "num"}, measureIou(own))]);
  return make("figure", {class: "chart wide"}, make("figcaption", {}, "Confusion: of the pixels of each class (rows), the % that the masks give to each class (columns); IoU over the pixels of all images"),
    make("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion of classes"},
      table({class: "confusion"}, [make("td"), ...names.map(head), head("IoU")], rows)));
}

// ---- painting an image with its masks

const ERRORS = {missed: "#ff8020", "too much": "#50beff", "wrong class": "#f0e442"};
const CONTOURS = {"ground truth": "#2fd18c", prediction: "#ffb000"};
const CONTOUR_PX = 1.5;
const files = new Map(); // what was loaded last, by name

/** Loads an image and its planes; the promise is kept. */
function load(name) {
  if (!files.has(name)) {
    if (files.size > 600) files.delete(files.keys().next().value);
    const read = suffix => {
      const image = new Image();
      image.src = `pictures/${name}${suffix}`;
      return image.decode().then(() => image);
    };
    files.set(name, Promise.all([read(".jpg"), read(".png")]));
  }
  return files.get(name);
}

/** Lays some planes over the target in one color, as `steps` say: [operation, plane]. */
function tint(target, planes, frame, steps, color, opacity) {
  const context = fill(frame.w, frame.h, color, context => {
    for (const [operation, plane] of steps) {
      context.globalCompositeOperation = operation;
      context.drawImage(planes, 0, plane * frame.h, frame.w, frame.h, 0, 0, frame.w, frame.h);
    }
  });
  target.globalAlpha = opacity;
  target.imageSmoothingEnabled = frame.scale < 2;
  target.drawImage(context.canvas, frame.x, frame.y, frame.width, frame.height);
  target.globalAlpha = 1;
}

/** Draws the outline of a plane, as wide at every zoom. */
function outline(target, planes, frame, plane, color) {
  const {width, height} = target.canvas;
  const context = fill(width, height, color, context => {
    context.imageSmoothingEnabled = frame.scale < 2;
    const lay = (x, y) => context.drawImage(planes, 0, plane * frame.h, frame.w, frame.h, frame.x + x, frame.y + y, frame.width, frame.height);
    const reach = CONTOUR_PX * devicePixelRatio;
    for (let turn = 0; turn < 8; turn++) lay(reach * Math.cos((turn * Math.PI) / 4), reach * Math.sin((turn * Math.PI) / 4));
    context.globalCompositeOperation = "destination-out";
    lay(0, 0);
  });
  target.drawImage(context.canvas, 0, 0);
}

const scratch = document.createElement("canvas");

/** Draws in a scratch canvas, and gives what was drawn one color. */
function fill(width, height, color, draw) {
  const context = scratch.getContext("2d");
  scratch.width = width;
  scratch.height = height;
  draw(context);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = color;
  context.fillRect(0, 0, width, height);
  return context;
}

/** Paints an image and the layer that `state` asks for; `view` has the zoom and the middle, as shares of the image. */
function paint(canvas, [image, planes], index, view = {zoom: 1, x: 0.5, y: 0.5}) {
  const context = canvas.getContext("2d"),
    {width, height} = canvas,
    [w, h] = [image.naturalWidth, image.naturalHeight],
    scale = Math.min(width / w, height / h) * view.zoom,
    frame = {w, h, scale, width: w * scale, height: h * scale, x: width / 2 - view.x * w * scale, y: height / 2 - view.y * h * scale};
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = scale < 4;
  context.drawImage(image, frame.x, frame.y, frame.width, frame.height);
  if (state.hidden || state.mode === "image") return;
  const classes = DATA.classes.map((_, number) => number),
    count = classes.length,
    target = own => own,
    predicted = own => (state.of + 1) * count + own,
    ignored = (DATA.predictions.length + 1) * count,
    hasPrediction = isEvaluated(index, state.of);
  const show = (plane, contour, color, clip) => {
    context.save();
    if (clip) {
      context.beginPath();
      context.rect(...clip);
      context.clip();
    }
    for (const own of classes) {
      const ink = color ?? DATA.classes[own][1];
      if (contour) outline(context, planes, frame, plane(own), ink);
      else tint(context, planes, frame, [["source-over", plane(own)]], ink, +state.opacity);
    }
    context.restore();
  };
  const contour = state.style === "contour";
  if (state.mode === "target") show(target, contour);
  else if (state.mode === "prediction" && hasPrediction) show(predicted, contour);
  else if (state.mode === "compare") {
    show(target, true, CONTOURS["ground truth"]);
    if (hasPrediction) show(predicted, true, CONTOURS.prediction);
  } else if (state.mode === "swipe") {
    const edge = frame.x + view.swipe * frame.width;
    show(target, contour, null, [0, 0, edge, height]);
    if (hasPrediction) show(predicted, contour, null, [edge, 0, width - edge, height]);
    context.fillStyle = "#fff";
    context.fillRect(edge - 1, frame.y, 2, frame.height);
  } else if (state.mode === "errors" && hasPrediction) {
    context.fillStyle = "rgb(0 0 0 / .5)";
    context.fillRect(frame.x, frame.y, frame.width, frame.height);
    paintErrors(context, planes, frame, classes, target, predicted, ignored);
  }
}

function paintErrors(context, planes, frame, classes, target, predicted, ignored) {
  const cut = plane => ["destination-out", plane],
    lay = (steps, kind) => tint(context, planes, frame, steps, ERRORS[kind], 1);
  for (const own of classes) {
    lay([["source-over", target(own)], ...classes.map(other => cut(predicted(other)))], "missed");
    lay([["source-over", predicted(own)], ...classes.map(other => cut(target(other))), cut(ignored)], "too much");
    if (classes.length === 1) continue;
    for (const other of classes)
      if (other !== own) lay([["source-over", target(own)], ["destination-in", predicted(other)]], "wrong class");
  }
}

/** Whether a prediction has a mask of an image: it has a score then, where scores are known. */
function isEvaluated(index, prediction) {
  const column = DATA.columns.find(own => own.prediction === prediction);
  return !column || column.values[index] !== null;
}

// ---- state: what is shown, kept in the address

const MODES = {errors: "Errors", target: "Ground truth", prediction: "Prediction", compare: "Contours of both", swipe: "Swipe", image: "Image"};
const DEFAULTS = {by: 0, of: 0, view: "", q: "", low: "", high: "", why: "", marked: "", mode: "", style: "tint", opacity: "0.5", open: "", table: ""};
const state = {...DEFAULTS, hidden: false, limit: 24};
let shown = [], // numbers of the images that pass the filters, the worst first
  order = [], // of all, by the column
  strip; // the order that the strip shows

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(DEFAULTS)) state[key] = given.get(key) ?? value;
  state.by = Math.min(+state.by || 0, DATA.columns.length - 1);
  state.of = Math.min(+state.of || 0, DATA.predictions.length - 1);
  if (!(state.mode in MODES)) state.mode = DATA.hasTarget ? "errors" : "prediction";
}

let writing;

/** Writes the address a little later: that is slow, and a letter typed follows on another. */
function writeState() {
  clearTimeout(writing);
  writing = setTimeout(writeAddress, 50);
}

function writeAddress() {
  const given = new URLSearchParams();
  const defaults = {...DEFAULTS, mode: DATA.hasTarget ? "errors" : "prediction"};
  for (const key of Object.keys(DEFAULTS)) if (String(state[key]) !== String(defaults[key])) given.set(key, state[key]);
  const hash = given.toString();
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? "#" + hash : location.pathname);
}

// ---- figures of images

const LEAST = 2; // a distance that counts

function format(column, value) {
  if (value === null) return "none";
  if (column.style === "change") return `${value > 0 ? "+" : ""}${Math.round(100 * (2 ** value - 1))} %`;
  if (column.style === "percent") return `${+(100 * value).toPrecision(3)} %`;
  return column.style === "score" ? value.toFixed(5) : String(+value.toPrecision(4));
}

/** Orders all images by a column, the worst first; those without a value come last. */
function sortBy(column) {
  const {values, distances, worst} = column;
  const rank = values.map((value, index) => {
    const own = distances ? distances[index] : value;
    return own === null ? Infinity : distances || worst === "high" ? -own : own;
  });
  return rank.map((_, index) => index).sort((a, b) => (rank[a] === rank[b] ? a - b : rank[a] - rank[b]));
}

const groupOf = index => DATA.groups[DATA.images.group[index]];
const names = DATA.images?.id.map((id, index) => `${id}\n${groupOf(index)}`.toLowerCase()); // what is searched

/** Whether an image passes the filters, that of the range aside. */
function buildFilter() {
  const wanted = state.q.trim().toLowerCase(),
    why = state.why ? state.why.split(",").map(Number) : [];
  return index =>
    (!wanted || names[index].includes(wanted)) &&
    (!state.view || DATA.images.view[index] === state.view) &&
    (!state.marked || marks.has(DATA.images.id[index])) &&
    why.every(own => DATA.columns[own].distances[index] >= LEAST);
}

/** Changes what is asked for, and all that shows it. */
function filter(changes) {
  Object.assign(state, changes);
  showControls();
  applyFilters();
}

function applyFilters() {
  const column = DATA.columns[state.by],
    low = state.low === "" ? -Infinity : +state.low,
    high = state.high === "" ? Infinity : +state.high,
    candidates = order.filter(buildFilter());
  const isRanged = low > -Infinity || high < Infinity;
  shown = isRanged
    ? candidates.filter(index => column.values[index] !== null && column.values[index] >= low && column.values[index] <= high)
    : candidates;
  state.limit = 24;
  drawHistogram(column, candidates, low, high);
  drawGallery();
  writeState();
}

// ---- marks

const marks = new Set(store.read(`unets:${DATA.page}`, []));

function toggleMark(index) {
  const id = DATA.images.id[index];
  if (!marks.delete(id)) marks.add(id);
  store.write(`unets:${DATA.page}`, [...marks]);
  showMarks();
}

function showMarks() {
  byId("num-marked").textContent = marks.size;
  for (const card of document.querySelectorAll(".card")) card.classList.toggle("marked", marks.has(card.dataset.id));
  if (state.open) byId("mark").setAttribute("aria-pressed", marks.has(state.open));
}

function exportMarks() {
  const quote = cell => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell);
  const rows = order
    .filter(index => marks.has(DATA.images.id[index]))
    .map(index => [DATA.images.id[index], groupOf(index), DATA.images.view[index], ...DATA.columns.map(own => own.values[index] ?? "")]);
  const text = [["id", "group", "view", ...DATA.columns.map(own => own.label)], ...rows].map(row => row.map(quote).join(",")).join("\n");
  const link = make("a", {href: URL.createObjectURL(new Blob([text + "\n"], {type: "text/csv"})), download: "marked.csv"});
  link.click();
}

// ---- charts of the images

function drawHistogram(column, candidates, low, high) {
  const known = candidates.filter(index => column.values[index] !== null),
    values = known.map(index => column.values[index]);
  if (!values.length) return byId("spread").replaceChildren(make("p", {class: "soft"}, "No image passes the filters."));
  const x = buildScale(column.style === "score" ? "score" : "linear", values),
    counts = new Array(40).fill(0);
  const bin = value => Math.min(Math.max(Math.floor(x.to(value) * 40), 0), 39);
  for (const value of values) counts[bin(value)]++;
  const y = buildScale("linear", [0, Math.max(...counts)]);
  y.ticks = y.ticks.filter(tick => Number.isInteger(tick.value));
  const edge = number => Math.min(Math.max(number, 0), 40) / 40;
  const isInside = number => x.from(edge(number + 1)) >= low && x.from(edge(number)) <= high;
  const draw = (X, Y) =>
    counts.map((count, number) => {
      const left = X(x.from(edge(number))),
        right = X(x.from(edge(number + 1)));
      return make(
        "svg:rect",
        {class: isInside(number) ? "bin" : "bin out", x: left, width: Math.max(right - left - 1, 1), y: Y(count), height: Y(0) - Y(count)},
        make("svg:title", {}, `${count} images`),
      );
    });
  const round = value => String(+value.toPrecision(6));
  const listen = (svg, at) => {
    let from = null;
    const brush = make("svg:rect", {class: "brush", y: 0, height: HEIGHT - BOTTOM});
    const grow = event => {
      const [left, right] = [x.to(from), x.to(at(event))].map(place => LEFT + place * (svg.clientWidth - LEFT - 8)).sort((a, b) => a - b);
      brush.setAttribute("x", left);
      brush.setAttribute("width", right - left);
    };
    svg.addEventListener("pointerdown", event => {
      from = at(event);
      svg.setPointerCapture(event.pointerId);
      grow(event);
      svg.append(brush);
    });
    svg.addEventListener("pointermove", event => from !== null && grow(event));
    svg.addEventListener("pointercancel", () => {
      from = null;
      brush.remove();
    });
    svg.addEventListener("pointerup", event => {
      if (from === null) return;
      const [first, last] = [bin(from), bin(at(event))].sort((a, b) => a - b);
      from = null;
      filter({low: first === 0 ? "" : round(x.from(edge(first))), high: last === 39 ? "" : round(x.from(edge(last + 1)))});
    });
  };
  const title = `${column.label}, ${values.length.toLocaleString("en")} images: click a bar, or drag over several`;
  const sorted = [...values].sort((a, b) => a - b);
  const label = `Histogram of ${column.label}: from ${format(column, sorted[0])} over ${format(column, sorted[sorted.length >> 1])} to ${format(column, sorted.at(-1))}`;
  byId("spread").replaceChildren(chart(title, label, x, y, draw, {listen}), drawScatter(column, known, low, high));
  drawRows(byId("by-view"), column, known, index => DATA.images.view[index], "camera view", "view");
  drawRows(byId("by-group"), column, known, groupOf, "group", "q");
}

/** The column against the area of the object; a click opens the nearest image. */
function drawScatter(column, known, low, high) {
  const own = known.filter(index => DATA.images.area[index] !== null);
  if (own.every(index => DATA.images.area[index] === DATA.images.area[own[0]])) return "";
  const x = buildScale("linear", own.map(index => 100 * DATA.images.area[index])),
    y = buildScale(column.style === "score" ? "score" : "linear", own.map(index => column.values[index]));
  const place = index => [100 * DATA.images.area[index], column.values[index]];
  const isInside = index => column.values[index] >= low && column.values[index] <= high;
  const spot = (X, Y) => index => `M${Math.round(X(place(index)[0]))} ${Math.round(Y(place(index)[1]))}h0`; // one a pixel
  const draw = (X, Y) =>
    [["points out", index => !isInside(index)], ["points", isInside]].map(([name, keeps]) =>
      make("svg:path", {class: own.length < 200 ? `${name} few` : name, d: [...new Set(own.filter(keeps).map(spot(X, Y)))].join("")}));
  const listen = svg =>
    svg.addEventListener("click", event => {
      const box = svg.getBoundingClientRect(),
        px = (event.clientX - box.left - LEFT) / (box.width - LEFT - 8),
        py = 1 - (event.clientY - box.top - 6) / (HEIGHT - BOTTOM - 12);
      const far = index => (x.to(place(index)[0]) - px) ** 2 + ((y.to(place(index)[1]) - py) * 0.4) ** 2;
      openViewer(own.reduce((best, index) => (far(index) < far(best) ? index : best)));
    });
  return chart(`${column.label} by area of the object, %: click a point`, `${column.label} against the area of the object`, x, y, draw, {listen});
}

/** Rows of means, the worst first; a click filters by the name, which `key` of the state holds then. */
function drawRows(host, column, known, nameOf, what, key) {
  const groups = Map.groupBy(known, nameOf);
  if (groups.size < 2 || known.length === groups.size) return host.replaceChildren();
  const means = [...groups].map(([name, own]) => [name, own.reduce((sum, index) => sum + column.values[index], 0) / own.length, own.length]);
  means.sort((a, b) => (column.worst === "low" ? a[1] - b[1] : b[1] - a[1]));
  const x = buildScale(column.style === "score" ? "score" : "linear", means.map(row => row[1]));
  const rows = means.slice(0, 8).map(([name, mean, count]) =>
    button(
      {class: "row", title: `${count} images`, "aria-pressed": state[key] === name, onclick: () => filter({[key]: state[key] === name ? "" : name})},
      make("span", {class: "name"}, name),
      make("i", {style: {"--share": `${(100 * x.to(mean)).toFixed(1)}%`}}),
      make("b", {}, format(column, mean)),
    ),
  );
  host.style.setProperty("--name", `${Math.min(Math.max(...means.map(row => row[0].length)), 18) + 1}ch`);
  host.replaceChildren(make("h3", {}, `By ${what}, the ${DATA.hasTarget ? "worst" : "oddest"} first`), ...rows);
}

// ---- gallery

const waiting = new Set(); // cards to be painted, in this order
const near = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) paintSoon(entry.target);
}, {rootMargin: "300px"});

/** Paints cards one after the other, and lets the browser show what else has changed between them. */
async function paintSoon(card) {
  near.unobserve(card);
  load(DATA.pictures[card.dataset.index][2]).catch(() => {}); // without its picture a card stays empty
  const isPainting = waiting.size > 0;
  waiting.add(card);
  if (isPainting) return;
  for (const next of waiting) {
    if (next.isConnected) await new Promise(done => setTimeout(done));
    if (next.isConnected) await paintCard(next).catch(() => {});
    waiting.delete(next);
  }
}

async function paintCard(card) {
  const canvas = card.querySelector("canvas"),
    index = +card.dataset.index,
    loaded = await load(DATA.pictures[index][2]);
  if (!card.isConnected) return; // another filter was set meanwhile
  canvas.width = Math.round(canvas.clientWidth * Math.min(devicePixelRatio, 2)) || 320;
  canvas.height = Math.round((canvas.width * DATA.pictures[index][0]) / DATA.pictures[index][1]);
  paint(canvas, loaded, index, {zoom: 1, x: 0.5, y: 0.5, swipe: 0.5});
  card.classList.add("ready");
}

// All cards have the shape of the middle one of the pictures.
const shapes = Object.values(DATA.pictures ?? {}).map(([height, width]) => width / height).sort((a, b) => a - b);
const shape = shapes[shapes.length >> 1] ?? 1.5;

function makeCard(index) {
  const column = DATA.columns[state.by],
    id = DATA.images.id[index],
    picture = DATA.pictures[index],
    value = format(column, column.values[index]);
  const canvas = make("canvas", {"aria-hidden": true, style: {"aspect-ratio": shape}});
  const card = button(
    {class: "card", "data-id": id, "data-index": index, "aria-label": `${id}, ${column.label} ${value}`, onclick: () => openViewer(index)},
    canvas,
    // The end of a name stays: it is what differs.
    make("span", {class: "name"}, make("span", {}, id.slice(0, -7)), id.slice(-7)),
    make("b", {}, value),
  );
  if (picture) near.observe(card);
  else card.disabled = true;
  return make("li", {}, card);
}

let later;

function drawGallery() {
  const part = shown.slice(0, state.limit);
  for (const card of document.querySelectorAll("#cards .card")) near.unobserve(card);
  if (strip !== order) byId("worst").replaceChildren(...(strip = order).slice(0, 6).map(makeCard));
  byId("cards").hidden = Boolean(state.table);
  byId("table").hidden = !state.table;
  byId("cards").replaceChildren(...(state.table ? [] : part.map(makeCard)));
  byId("table").replaceChildren(...(state.table ? [drawTable(part)] : []));
  byId("more").hidden = part.length === shown.length;
  byId("count").textContent = `${shown.length.toLocaleString("en")} of ${order.length.toLocaleString("en")} images`;
  showMarks();
  clearTimeout(later); // the first cards are painted at last though nobody sees them: a print shows them
  later = setTimeout(() => [...document.querySelectorAll(".card:enabled:not(.ready)")].slice(0, 30).forEach(paintSoon), 1500);
}

function drawTable(part) {
  const columns = DATA.columns.map((column, number) =>
    make("th", {scope: "col", class: "num", "aria-sort": number === state.by ? "other" : "none"},
      button({class: "plain", onclick: () => setColumn(number)}, column.label)));
  const rows = part.map(index => [
    make("th", {scope: "row"}, button({class: "plain", onclick: () => openViewer(index)}, DATA.images.id[index])),
    make("td", {}, groupOf(index)), make("td", {}, DATA.images.view[index]),
    ...DATA.columns.map(column => make("td", {class: "num"}, format(column, column.values[index])))]);
  return table({}, [...["image", "group", "view"].map(name => make("th", {scope: "col"}, name)), ...columns], rows);
}

/** Paints again what is shown, after a change of layer. */
function repaint() {
  document.querySelectorAll(".card.ready").forEach(paintSoon);
  if (state.open) paintStage();
  showControls();
  writeState();
}

// ---- controls

function chips(host, names, chosen, choose) {
  host.replaceChildren(...names.map(([value, text]) => button({"data-value": value, "aria-pressed": String(value === chosen), onclick: () => choose(value)}, text)));
}

function listModes() {
  return Object.entries(MODES).filter(([mode]) => DATA.hasTarget || ["prediction", "image"].includes(mode));
}

function setMode(mode) {
  state.mode = mode;
  state.hidden = false;
  repaint();
}

function setPrediction(number) {
  if (number >= 0 && number < DATA.predictions.length) state.of = number;
  repaint();
}

function setColumn(number) {
  const column = DATA.columns[number];
  order = sortBy(column);
  filter({by: number, low: "", high: "", of: column.prediction ?? state.of});
  repaint();
}

function setStyle() {
  state.style = state.style === "contour" ? "tint" : "contour";
  repaint();
}

function describeLegend() {
  const kinds = {
    errors: Object.entries(ERRORS).slice(0, DATA.classes.length > 1 ? 3 : 2),
    compare: Object.entries(CONTOURS),
    image: [],
  }[state.mode] ?? DATA.classes;
  const swatches = kinds.flatMap(([name, color]) => [make("i", {class: "swatch", style: {background: color}}), `${name} `]);
  return state.hidden ? ["masks hidden"] : state.mode === "swipe" ? [...swatches, "(left: ground truth, right: prediction)"] : swatches;
}

/** Brings all controls to what `state` says. */
function showControls() {
  for (const [id, key] of Object.entries({column: "by", prediction: "of", view: "view", search: "q", low: "low", high: "high", opacity: "opacity"}))
    if (byId(id).value !== String(state[key])) byId(id).value = state[key];
  byId("marked-only").checked = Boolean(state.marked);
  byId("style").setAttribute("aria-pressed", state.style === "contour");
  byId("style").disabled = byId("opacity").disabled = !["target", "prediction", "swipe"].includes(state.mode);
  byId("as-table").setAttribute("aria-pressed", Boolean(state.table));
  byId("meaning").textContent = DATA.columns[state.by].meaning;
  for (const host of ["mode", "viewer-mode"]) chips(byId(host), listModes(), state.mode, setMode);
  const names = DATA.predictions.map((name, number) => [number, name]);
  chips(byId("viewer-prediction"), names, state.of, setPrediction);
  for (const host of ["legend", "viewer-legend"]) byId(host).replaceChildren(...describeLegend());
  byId("swipe").hidden = state.mode !== "swipe";
  const why = state.why ? state.why.split(",") : [];
  const reasons = DATA.columns
    .map((column, number) => [String(number), column.label, column.distances?.filter(own => own >= LEAST).length ?? 0])
    .filter(([, , count]) => count);
  byId("reasons").replaceChildren(
    ...reasons.map(([number, label, count]) =>
      button({"aria-pressed": why.includes(number),
        onclick: () => filter({why: (why.includes(number) ? why.filter(own => own !== number) : [...why, number]).join(",")})},
        `${label} `, make("small", {}, count))),
  );
}

// ---- viewer

const view = {zoom: 1, x: 0.5, y: 0.5, swipe: 0.5};
let staged = null; // the files on the stage

function openViewer(index) {
  state.open = DATA.images.id[index];
  if (!byId("viewer").open) byId("viewer").showModal();
  byId("stage").focus();
  Object.assign(view, {zoom: 1, x: 0.5, y: 0.5});
  const place = shown.indexOf(index);
  byId("viewer-name").textContent = state.open;
  byId("viewer-place").textContent = [
    groupOf(index) === state.open ? "" : `group ${groupOf(index)}`,
    DATA.images.view[index] && `camera view ${DATA.images.view[index]}`,
    DATA.images.fold[index] >= 0 && `fold ${DATA.images.fold[index]}`,
    place >= 0 && `${place + 1} of ${shown.length}`,
  ].filter(Boolean).join(", ");
  byId("viewer-figures").replaceChildren(...DATA.columns.map((column, number) => {
    const known = column.values.filter(value => value !== null).sort((a, b) => a - b);
    const far = column.distances?.[index] ?? 0;
    return make("tr", {class: far >= LEAST ? "odd" : ""}, make("th", {scope: "row", title: column.meaning}, column.label),
      make("td", {class: "num"}, format(column, column.values[index])),
      make("td", {class: "num soft"}, column.distances ? `median ${format(column, known[known.length >> 1] ?? null)}` : ""));
  }));
  const [, , small, large] = DATA.pictures[index];
  const [imageFile, maskFile] = DATA.links[index] ?? [];
  for (const [id, address] of [["viewer-image", imageFile], ["viewer-mask", maskFile], ["viewer-planes", `pictures/${large}.png`]]) {
    byId(id).hidden = !address;
    if (address) byId(id).href = address;
  }
  staged = null;
  for (const name of new Set([small, large]))
    load(name).then(loaded => {
      if (state.open !== DATA.images.id[index] || (staged && staged.name === large)) return;
      staged = {name, index, loaded};
      paintStage();
    });
  showMarks();
  showControls();
  writeState();
}

function paintStage() {
  const canvas = byId("stage");
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  canvas.setAttribute("aria-label", `${state.open}: ${MODES[state.mode]}, masks of ${DATA.predictions[state.of]}`);
  if (staged) paint(canvas, staged.loaded, staged.index, view);
}

function step(by) {
  const index = DATA.images.id.indexOf(state.open),
    drawn = shown.filter(own => own in DATA.pictures),
    next = drawn[Math.min(Math.max(drawn.indexOf(index) + by, 0), drawn.length - 1)];
  if (next !== undefined && next !== index) openViewer(next);
}

/** Zooms about a point of the stage, in pixels of the window. */
function zoomAt(factor, clientX, clientY) {
  if (!staged) return;
  const canvas = byId("stage"),
    box = canvas.getBoundingClientRect(),
    [image] = staged.loaded,
    fit = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight),
    zoom = Math.min(Math.max(view.zoom * factor, 1), 40);
  const shift = (client, start, size, natural) => (client - start - size / 2) / (natural * fit);
  view.x += shift(clientX, box.left, box.width, image.naturalWidth) * (1 / view.zoom - 1 / zoom);
  view.y += shift(clientY, box.top, box.height, image.naturalHeight) * (1 / view.zoom - 1 / zoom);
  view.zoom = zoom;
  settle();
}

function settle() {
  for (const axis of ["x", "y"]) view[axis] = view.zoom === 1 ? 0.5 : Math.min(Math.max(view[axis], 0), 1);
  paintStage();
}

function zoomMiddle(factor) {
  const box = byId("stage").getBoundingClientRect();
  zoomAt(factor, box.left + box.width / 2, box.top + box.height / 2);
}

function toggleFit() {
  const [image] = staged?.loaded ?? [];
  if (!image) return;
  const box = byId("stage").getBoundingClientRect();
  const whole = Math.max(image.naturalWidth / box.width, image.naturalHeight / box.height);
  if (view.zoom !== 1) Object.assign(view, {zoom: 1, x: 0.5, y: 0.5});
  else view.zoom = Math.max(whole, 2);
  settle();
}

function followPointers(canvas) {
  const pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    zoomAt(Math.exp(-event.deltaY * 0.0015), event.clientX, event.clientY);
  }, {passive: false});
  canvas.addEventListener("dblclick", toggleFit);
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", event => {
    const before = pointers.get(event.pointerId);
    if (!before || !staged) return;
    const apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      return zoomAt(spread() / apart, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    }
    const [image] = staged.loaded,
      scale = Math.min(canvas.clientWidth / image.naturalWidth, canvas.clientHeight / image.naturalHeight) * view.zoom;
    view.x -= (event.clientX - before[0]) / (image.naturalWidth * scale);
    view.y -= (event.clientY - before[1]) / (image.naturalHeight * scale);
    settle();
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, event => pointers.delete(event.pointerId));
}

const KEYS = {
  j: () => step(1), ArrowRight: () => step(1), ArrowDown: () => step(1),
  k: () => step(-1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1),
  f: toggleFit, c: setStyle,
  "+": () => zoomMiddle(1.4), "-": () => zoomMiddle(1 / 1.4),
  m: () => toggleMark(DATA.images.id.indexOf(state.open)),
  e: () => {
    const modes = listModes().map(([mode]) => mode);
    setMode(modes[(modes.indexOf(state.mode) + 1) % modes.length]);
  },
  " ": () => {
    state.hidden = !state.hidden;
    repaint();
  },
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  if (event.key === "?") return byId("help").showModal();
  if (!byId("viewer").open || byId("help").open || (event.key === " " && event.target.closest("button"))) return;
  if (/^[1-9]$/.test(event.key)) setPrediction(event.key - 1);
  else if (event.key in KEYS) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function startGallery() {
  const options = (id, rows) => byId(id).replaceChildren(...rows.map(([value, text]) => make("option", {value}, text)));
  options("column", DATA.columns.map((column, number) => [number, column.label]));
  options("prediction", DATA.predictions.map((name, number) => [number, name]));
  const views = [...new Set(DATA.images.view)].filter(Boolean).sort();
  options("view", [["", "all"], ...views.map(name => [name, name])]);
  byId("view-label").hidden = views.length < 2;
  byId("prediction").parentElement.hidden = DATA.predictions.length < 2;
  const refresh = () => {
    readState();
    order = sortBy(DATA.columns[state.by]);
    showControls();
    const open = DATA.images.id.indexOf(state.open);
    applyFilters();
    if (open >= 0 && open in DATA.pictures) openViewer(open);
    else byId("viewer").close();
  };
  for (const [id, key] of [["view", "view"], ["search", "q"], ["low", "low"], ["high", "high"], ["marked-only", "marked"]])
    on(id, "input", event => {
      const value = event.target.type === "checkbox" ? (event.target.checked ? "1" : "") : event.target.value;
      state[key] = ["low", "high"].includes(key) && Number.isNaN(+value) ? "" : value;
      applyFilters();
    });
  on("column", "input", event => setColumn(+event.target.value));
  on("prediction", "input", event => setPrediction(+event.target.value));
  on("opacity", "input", event => {
    state.opacity = event.target.value;
    repaint();
  });
  on("swipe", "input", event => {
    view.swipe = +event.target.value;
    paintStage();
  });
  document.querySelector("form.filters").addEventListener("submit", event => event.preventDefault());
  const clicks = {
    clear: () => filter({view: "", q: "", low: "", high: "", why: "", marked: ""}),
    style: setStyle, export: exportMarks, keys: () => byId("help").showModal(),
    "as-table": () => {
      state.table = state.table ? "" : "1";
      showControls();
      drawGallery();
      writeState();
    },
    more: () => {
      state.limit += 48;
      drawGallery();
    },
    close: () => byId("viewer").close(), before: () => step(-1), after: () => step(1), mark: KEYS.m, fit: toggleFit,
  };
  for (const [id, click] of Object.entries(clicks)) on(id, "click", click);
  on("viewer", "close", () => {
    const card = [...document.querySelectorAll("#cards .card")].find(own => own.dataset.id === state.open);
    state.open = "";
    writeState();
    card?.focus();
  });
  followPointers(byId("stage"));
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", refresh);
  addEventListener("resize", repaint);
  refresh();
}

if (DATA.training?.length && byId("training-curves")) drawTraining(byId("training-curves"), DATA.training);
if (DATA.errors) drawErrors(byId("error-charts"), DATA.errors);
if (byId("cards")) startGallery();
