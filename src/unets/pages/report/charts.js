"use strict";
// What the page is drawn with: elements, scales, and the training curves.

/** Makes an element: attributes by name, `on...` are listeners, children are nodes or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, own] of Object.entries(value)) element.style.setProperty(key, own);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

const format = value => (value === null ? "" : value.toFixed(5));
const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The value below which a share of sorted values lies, linear between them. */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1),
    below = Math.floor(place),
    above = Math.ceil(place);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

function plural(number, word) {
  return number.toLocaleString("en") + " " + word + (number === 1 ? "" : "s");
}

// ---- the scale of scores: by the logarithm of what is wrong, so that 0.99 and 0.999 lie apart

/** A scale of scores; `place` gives percent from the left, `ticks` the scores to be named. */
function buildScale(scores) {
  let low = 1,
    high = 1e-5;
  for (const score of scores)
    if (score !== null) {
      const wrong = Math.min(Math.max(1 - score, 1e-5), 1);
      low = Math.min(low, wrong);
      high = Math.max(high, wrong);
    }
  const left = Math.log10(high) + 0.04,
    right = Math.log10(low) - 0.04,
    span = Math.max(left - right, 0.1);
  const place = score => 100 * Math.min(Math.max((left - Math.log10(Math.max(1 - score, 1e-5))) / span, 0), 1);
  const ticks = [];
  for (let decade = 0; decade >= -5; decade--)
    for (const step of [10, 5, 2]) {
      const wrong = step * 10 ** (decade - 1),
        score = 1 - wrong;
      if (wrong > high * 1.05 || wrong < low * 0.95) continue;
      const own = place(score),
        digits = Math.max(0, 1 - decade);
      if (own < 3 || own > 97 || ticks.some(tick => Math.abs(tick.place - own) < 13)) continue;
      ticks.push({place: own, text: String(+score.toFixed(digits))});
    }
  return {place, ticks};
}

// ---- curves

const SERIES = [
  ["loss", "Loss", "loss", "val_loss"],
  ["dice", "Dice at the net's own resolution", "dice", "val_dice"],
];

/** Ticks of a loss: 1, 2 and 5 times powers of ten, thinned so that no two names touch. */
function listTicks(low, high, place, minimum) {
  const ticks = [];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++)
    for (const step of [1, 2, 5]) {
      const value = step * 10 ** decade,
        own = place(value);
      if (value < low || value > high || ticks.some(tick => Math.abs(tick.place - own) < minimum)) continue;
      ticks.push({place: own, text: String(+value.toPrecision(1))});
    }
  return ticks;
}

/** A scale from values to percent from the top, and its ticks. */
function buildHeights(kind, values) {
  const low = Math.min(...values),
    high = Math.max(...values);
  if (kind === "dice") {
    const own = buildScale(values);
    return {
      place: value => 100 - own.place(value),
      ticks: own.ticks.map(tick => ({place: 100 - tick.place, text: tick.text})),
    };
  }
  if (low <= 0) {
    // a loss that may be negative: no logarithm
    const span = high - low || 1,
      place = value => 4 + (92 * (high - value)) / span;
    return {
      place,
      ticks: [low, (low + high) / 2, high].map(value => ({place: place(value), text: value.toPrecision(2)})),
    };
  }
  const span = Math.log10(high / low) || 1,
    place = value => 4 + (92 * Math.log10(high / value)) / span;
  return {place, ticks: listTicks(low, high, place, 11)};
}

const SVG = "http://www.w3.org/2000/svg";

/** The value of a run's series in an epoch; null where there is none. */
const valueAt = (run, series, epoch) => run[series][run.epochs.indexOf(epoch)] ?? null;

/** Names the value of each run that has one. */
function nameValues(runs, find) {
  const words = runs.map(run => [run.fold, find(run)]).filter(([, value]) => value !== null);
  return words.map(([fold, value]) => `fold ${fold} ${format(value)}`).join(", ");
}

/** A line a fold and series, in percent of the chart. */
function drawLines(runs, series, across, heights) {
  const svg = document.createElementNS(SVG, "svg");
  const fields = {viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true"};
  for (const [key, value] of Object.entries(fields)) svg.setAttribute(key, value);
  runs.forEach((run, number) => {
    for (const own of series) {
      const points = run.epochs.map(epoch => [epoch, valueAt(run, own, epoch)]).filter(([, value]) => value !== null);
      const line = document.createElementNS(SVG, "polyline");
      const place = ([epoch, value]) => `${across(epoch).toFixed(2)},${heights.place(value).toFixed(2)}`;
      line.setAttribute("points", points.map(place).join(" "));
      line.setAttribute("class", `s${number % 6} ${own.startsWith("val_") ? "valid" : "train"}`);
      svg.append(line);
    }
  });
  return svg;
}

/** A ring at each epoch whose weights predict. */
function drawRings(runs, series, across, heights) {
  return runs.flatMap((run, number) =>
    run.best
      .filter(epoch => valueAt(run, series, epoch) !== null)
      .map(epoch => {
        const style = {left: across(epoch) + "%", top: heights.place(valueAt(run, series, epoch)) + "%"};
        return make("i", {class: `dot s${number % 6}`, style});
      }),
  );
}

/** A chart of one series; pointer and arrow keys read it epoch by epoch. */
function drawChart(experiment, runs, [kind, name, train, valid]) {
  const values = runs.flatMap(run => [...run[train], ...run[valid]]).filter(value => value !== null);
  if (!values.length) return null;
  const heights = buildHeights(kind, values),
    last = Math.max(...runs.flatMap(run => run.epochs));
  const across = epoch => (last > 1 ? (100 * (epoch - 1)) / (last - 1) : 50);
  const choose = kind === "dice" ? Math.max : Math.min;
  const best =
    "best of validation: " +
    nameValues(runs, run => {
      const known = run[valid].filter(value => value !== null);
      return known.length ? choose(...known) : null;
    });
  const cursor = make("i", {class: "cursor", hidden: true}),
    readout = make("p", {class: "soft readout"}, best);
  let current = last;
  const show = epoch => {
    current = Math.min(Math.max(epoch, 1), last);
    cursor.hidden = false;
    cursor.style.left = across(current) + "%";
    readout.textContent = `epoch ${current}: ` + nameValues(runs, run => valueAt(run, valid, current));
    plot.setAttribute("aria-valuenow", current);
    plot.setAttribute("aria-valuetext", readout.textContent);
  };
  const hide = () => {
    cursor.hidden = true;
    readout.textContent = best;
  };
  const plot = make("div", {
    class: "plot",
    tabindex: 0,
    role: "slider",
    "aria-label": `${name} of ${experiment} by epoch; ${best}`,
    "aria-valuemin": 1,
    "aria-valuemax": last,
    "aria-valuenow": last,
    "aria-valuetext": `epoch ${last}`,
    onpointerleave: hide,
    onblur: hide,
    onpointermove: event => {
      const box = plot.getBoundingClientRect();
      show(Math.round(1 + ((event.clientX - box.left) / box.width) * (last - 1)));
    },
    onkeydown: event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!step) return;
      event.preventDefault();
      show(current + step);
    },
  });
  plot.append(drawLines(runs, [train, valid], across, heights));
  plot.append(...(kind === "dice" ? drawRings(runs, valid, across, heights) : []), cursor);
  const ticks = heights.ticks.map(tick => make("span", {class: "tick", style: {top: tick.place + "%"}}, tick.text));
  const named = Array.from(new Set([1, Math.round((1 + last) / 2), last]));
  const epochs = named.map(epoch => make("span", {style: {left: across(epoch) + "%"}}, String(epoch)));
  return make(
    "figure",
    {class: "chart"},
    make("figcaption", {}, name),
    make(
      "div",
      {class: "frame"},
      make("div", {class: "ticks", "aria-hidden": "true"}, ...ticks),
      plot,
      make("div", {class: "axis", "aria-hidden": "true"}, ...epochs),
    ),
    readout,
  );
}

/** Draws two charts for each experiment: loss and Dice, a line for each fold. */
function drawCurves(place, experiments) {
  if (!experiments.length) return place.append(make("p", {class: "soft"}, "No epoch is finished yet."));
  place.append(
    make(
      "p",
      {class: "soft key"},
      make("i", {class: "swatch line"}),
      "validation ",
      make("i", {class: "swatch line dashed"}),
      "training ",
      make("i", {class: "swatch ring"}),
      "the weights that predict. A colour is a fold; the scales are logarithmic.",
    ),
  );
  for (const {experiment, runs} of experiments) {
    const names = runs.map((run, number) => make("span", {class: `fold s${number % 6}`}, `fold ${run.fold}`));
    place.append(
      make(
        "article",
        {class: "experiment"},
        make("h3", {}, experiment, " ", make("small", {}, ...names)),
        make("div", {class: "charts"}, ...SERIES.map(series => drawChart(experiment, runs, series))),
      ),
    );
  }
}
