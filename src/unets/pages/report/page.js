// The page: what is filtered, and what it shows of that.

const data = JSON.parse(document.getElementById("data").textContent);
const {photos, subjects, pictures, metric} = data;
const count = photos.id.length;
const PAGE_ROWS = 50,
  FIRST_GROUPS = 12,
  MORE_GROUPS = 24,
  BINS = 48;
const LAYERS = ["photo", "truth", "mask", "difference"];
const LAYER_NAMES = {photo: "Photo", truth: "Truth", mask: "Prediction", difference: "Difference"};
const hasAgreement = photos.agreement.some(value => value !== null);
const state = {
  subject: 0,
  view: -1,
  text: "",
  sort: "worst",
  layer: "difference",
  groups: FIRST_GROUPS,
  order: "score",
  descending: false,
  page: 0,
  shown: [],
  place: 0,
  subjectShown: 0,
  full: false,
};

// ---- small things

const get = id => document.getElementById(id);

const scoresOf = subject => subjects[subject].scores;

const scale = buildScale(subjects.flatMap(subject => subject.scores));

function makeAxis() {
  return make(
    "div",
    {class: "axis", "aria-hidden": "true"},
    ...scale.ticks.map(tick => make("span", {style: {left: tick.place + "%"}}, tick.text)),
  );
}

// ---- which photos count

/** Numbers of the photos that the filters leave; `without` names one that does not count. */
function select(without = "") {
  const scores = scoresOf(state.subject),
    text = state.text.trim().toLowerCase(),
    found = [];
  for (let index = 0; index < count; index++) {
    if (scores[index] === null) continue;
    if (without !== "view" && state.view >= 0 && photos.view[index] !== state.view) continue;
    if (
      without !== "group" &&
      text &&
      !photos.id[index].toLowerCase().includes(text) &&
      !data.groups[photos.group[index]].toLowerCase().includes(text)
    )
      continue;
    found.push(index);
  }
  return found;
}

const byValue =
  (values, sign = 1) =>
  (a, b) => {
    const first = values[a],
      second = values[b];
    if (first === null || second === null) return (first === null) - (second === null) || a - b;
    return sign * (first < second ? -1 : first > second ? 1 : 0) || a - b;
  };

// ---- distributions

function drawHistogram(chosen) {
  const place = get("histogram"),
    scores = scoresOf(state.subject);
  if (!chosen.length) return place.replaceChildren(make("p", {class: "soft"}, "No photo matches."));
  const bins = Array(BINS).fill(0);
  for (const index of chosen) bins[Math.min(Math.floor((scale.place(scores[index]) / 100) * BINS), BINS - 1)]++;
  const most = Math.max(...bins),
    sorted = chosen.map(index => scores[index]).sort((a, b) => a - b);
  const [low, median, high] = [0.05, 0.5, 0.95].map(share => format(quantile(sorted, share)));
  const bars = bins.map(number =>
    make("i", {style: {height: (100 * number) / most + "%"}, title: plural(number, "photo")}),
  );
  const words = `${metric}: mean ${format(mean(sorted))}, median ${median}, 90 % from ${low} to ${high}`;
  place.replaceChildren(
    make("div", {class: "bars", role: "img", "aria-label": `${plural(chosen.length, "photo")}; ${words}`}, ...bars),
    makeAxis(),
    make("p", {class: "soft"}, words),
  );
}

/** Draws a row for each view or group: where its photos lie. A click filters by it. */
function drawRows(place, kind, names, numbers, isChosen, choose, limit) {
  const scores = scoresOf(state.subject),
    members = new Map();
  for (const index of select(kind)) {
    const own = numbers[index];
    if (own < 0) continue;
    if (!members.has(own)) members.set(own, []);
    members.get(own).push(scores[index]);
  }
  const rows = Array.from(members, ([number, values]) => ({
    number,
    values: values.sort((a, b) => a - b),
    mean: mean(values),
  }));
  rows.sort((a, b) => a.mean - b.mean || a.number - b.number);
  const shown = rows.filter((row, rank) => rank < limit || isChosen(row.number));
  place.style.setProperty("--name", Math.min(Math.max(...shown.map(row => names[row.number].length)) + 1, 16) + "ch");
  place.replaceChildren(
    ...shown.map(row => {
      const at = share => scale.place(quantile(row.values, share));
      const name = names[row.number],
        pressed = isChosen(row.number);
      const style = {
        "--low": at(0.05) + "%",
        "--first": at(0.25) + "%",
        "--median": at(0.5) + "%",
        "--third": at(0.75) + "%",
        "--high": at(0.95) + "%",
        "--worst": at(0) + "%",
      };
      return make(
        "button",
        {
          type: "button",
          class: "row",
          "aria-pressed": String(pressed),
          onclick: () => choose(row.number, pressed),
          title: `worst ${format(row.values[0])}, median ${format(quantile(row.values, 0.5))}`,
        },
        make("span", {class: "name"}, name),
        make(
          "span",
          {class: "spread", style, "aria-hidden": "true"},
          make("i", {class: "range"}),
          make("i", {class: "box"}),
          make("i", {class: "median"}),
          make("i", {class: "worst"}),
        ),
        make("span", {class: "value"}, format(row.mean)),
        make(
          "span",
          {class: "unseen"},
          `, mean of ${plural(row.values.length, "photo")}, worst ${format(row.values[0])}`,
        ),
      );
    }),
  );
  if (shown.length) place.append(make("div", {class: "row foot"}, make("span"), makeAxis(), make("span")));
  return rows.length - shown.length;
}

function drawSpreads() {
  if (data.views.length > 1)
    drawRows(
      get("by-view").querySelector(".rows"),
      "view",
      data.views,
      photos.view,
      number => number === state.view,
      (number, pressed) => change({view: pressed ? -1 : number}),
      40,
    );
  if (data.groups.length < 2 || data.groups.length === count) return;
  const isChosen = number => state.text.trim() === data.groups[number];
  const place = get("by-group").querySelector(".rows");
  const left = drawRows(
    place,
    "group",
    data.groups,
    photos.group,
    isChosen,
    (number, pressed) => change({text: pressed ? "" : data.groups[number]}),
    state.groups,
  );
  if (left > 0)
    place.append(
      make(
        "button",
        {
          type: "button",
          class: "more",
          onclick: () => {
            state.groups += MORE_GROUPS;
            drawSpreads();
          },
        },
        `${plural(left, "more group")}`,
      ),
    );
}

// ---- pictures

/** The picture of a photo with the layer that is chosen on it. */
function makePicture(index, layer, subject, lazy) {
  const picture = pictures[index],
    own = picture.layers[subject];
  const path = {photo: null, truth: picture.truth, mask: own && own[0], difference: own && own[1]}[layer];
  const [height, width] = picture.hw,
    loading = lazy ? "lazy" : "eager";
  return make(
    "span",
    {
      class: "picture" + (layer === "difference" && path ? " dim" : ""),
      style: {"aspect-ratio": `${width} / ${height}`, "--ratio": width / height},
    },
    make("img", {src: picture.photo, alt: "", loading, decoding: "async", width, height}),
    path ? make("img", {class: "layer", src: path, alt: "", loading, decoding: "async", width, height}) : null,
  );
}

function fillLegend(place, layer) {
  const colours = layer === "difference" ? data.differences : layer === "photo" ? [] : data.classes;
  place.replaceChildren(
    ...colours.flatMap(([name, colour]) => [make("i", {class: "swatch", style: {background: colour}}), name + " "]),
  );
}

function describe(index, isShort = false) {
  const group = data.groups[photos.group[index]],
    isTold = isShort ? photos.id[index].includes(group) : photos.id[index] === group,
    view = photos.view[index],
    agreement = photos.agreement[index];
  return [
    isTold ? "" : `group ${group}`,
    view < 0 ? "" : `view ${data.views[view]}`,
    `fold ${photos.fold[index]}`,
    agreement === null ? "" : `agreement ${agreement.toFixed(4)}`,
  ]
    .filter(Boolean)
    .join(", ");
}

function drawGallery(chosen) {
  const values = state.sort === "worst" ? scoresOf(state.subject) : photos.agreement;
  const drawn = chosen
    .filter(index => pictures[index])
    .sort(byValue(values))
    .slice(0, data.top);
  state.shown = drawn;
  get("cards").replaceChildren(
    ...drawn.map((index, place) =>
      make(
        "li",
        {},
        make(
          "button",
          {type: "button", class: "card", "data-photo": photos.id[index], onclick: () => zoom(place)},
          makePicture(index, state.layer, state.subject, true),
          make(
            "span",
            {class: "text"},
            make("span", {class: "name"}, photos.id[index]),
            make("b", {class: "score"}, format(scoresOf(state.subject)[index])),
            make("small", {}, describe(index, true)),
          ),
        ),
      ),
    ),
  );
  const order = state.sort === "worst" ? "the worst first" : "those first on which members disagree most";
  const left = chosen.length - drawn.length;
  get("gallery-note").textContent = !chosen.length
    ? "No photo matches."
    : !drawn.length
      ? `None of the ${plural(chosen.length, "photo")} that match has a picture; ${data.more}.`
      : `${plural(drawn.length, "photo")}, ${order}` +
        (left ? `; ${left.toLocaleString("en")} more in the list below.` : ".");
  fillLegend(get("legend"), state.layer);
}

// ---- the list

const COLUMNS = [
  {key: "id", name: "photo", values: photos.id},
  {key: "group", name: "group", values: photos.group.map(number => data.groups[number])},
  ...(data.views.length
    ? [{key: "view", name: "view", values: photos.view.map(number => data.views[number] ?? null)}]
    : []),
  {key: "fold", name: "fold", values: photos.fold, number: true},
  ...(hasAgreement ? [{key: "agreement", name: "agreement", values: photos.agreement, number: true}] : []),
  ...subjects.map((subject, number) => ({
    key: "score" + number,
    name: subject.name,
    values: subject.scores,
    number: true,
    subject: number,
  })),
];

function drawList(chosen) {
  const key = state.order === "score" ? "score" + state.subject : state.order;
  const column = COLUMNS.find(column => column.key === key);
  const sorted = chosen.slice().sort(byValue(column.values, state.descending ? -1 : 1));
  const pages = Math.max(Math.ceil(sorted.length / PAGE_ROWS), 1);
  state.page = Math.min(state.page, pages - 1);
  const rows = sorted.slice(state.page * PAGE_ROWS, (state.page + 1) * PAGE_ROWS);
  get("table").tHead.replaceChildren(
    make(
      "tr",
      {},
      ...COLUMNS.map(own =>
        make(
          "th",
          {
            scope: "col",
            class: own.number ? "num" : "",
            "aria-sort": own !== column ? null : state.descending ? "descending" : "ascending",
          },
          make(
            "button",
            {type: "button", "data-key": own.key, onclick: () => sortBy(own)},
            own.name,
            make("i", {"aria-hidden": "true"}, own !== column ? "" : state.descending ? "↓" : "↑"),
          ),
        ),
      ),
    ),
  );
  get("table").tBodies[0].replaceChildren(
    ...rows.map(index =>
      make(
        "tr",
        {},
        ...COLUMNS.map(own => {
          const value = own.values[index],
            isScore = own.subject !== undefined || own.key === "agreement";
          const text = value === null ? "" : isScore ? format(value) : String(value);
          if (own.key !== "id")
            return make("td", {class: (own.number ? "num" : "") + (own.subject === state.subject ? " own" : "")}, text);
          return make(
            "th",
            {scope: "row"},
            pictures[index]
              ? make(
                  "button",
                  {
                    type: "button",
                    class: "link",
                    onclick: () => {
                      state.shown = rows.filter(own => pictures[own]);
                      zoom(state.shown.indexOf(index));
                    },
                  },
                  text,
                )
              : text,
          );
        }),
      ),
    ),
  );
  get("page").textContent = sorted.length
    ? `${state.page * PAGE_ROWS + 1} to ${state.page * PAGE_ROWS + rows.length} of ${sorted.length.toLocaleString("en")}`
    : "none";
  get("back").disabled = state.page === 0;
  get("next").disabled = state.page >= pages - 1;
}

function sortBy(column) {
  const key = column.subject === state.subject ? "score" : column.key;
  state.descending = state.order === key ? !state.descending : false;
  state.order = key;
  state.page = 0;
  drawList(select());
  get("table").tHead.querySelector(`[data-key="${column.key}"]`).focus();
}

// ---- zoom

const dialog = get("zoom"),
  stage = get("stage");
let opener = null;

function zoom(place) {
  state.place = place;
  state.subjectShown = state.subject;
  opener = document.activeElement;
  setFull(false);
  dialog.showModal();
  drawZoom();
  stage.focus();
}

function drawZoom() {
  const index = state.shown[state.place],
    picture = pictures[index];
  get("zoom-name").textContent = photos.id[index];
  get("zoom-place").textContent = `${state.place + 1} of ${state.shown.length}. ${describe(index)}`;
  stage.replaceChildren(makePicture(index, state.layer, state.subjectShown, false));
  stage.setAttribute("aria-label", `${LAYER_NAMES[state.layer]} of ${photos.id[index]}`);
  fillLegend(get("zoom-legend"), state.layer);
  makeChoice(
    get("zoom-layer"),
    LAYERS.map((layer, number) => [layer, LAYER_NAMES[layer], String(number + 1)]),
    state.layer,
    setLayer,
  );
  const judged = subjects.map((subject, number) => [number, subject.name, format(subject.scores[index])]);
  makeChoice(
    get("zoom-subject"),
    judged.filter(([number]) => picture.layers[number]),
    state.subjectShown,
    number => {
      state.subjectShown = number;
      drawZoom();
    },
  );
  get("zoom-back").disabled = state.place === 0;
  get("zoom-next").disabled = state.place === state.shown.length - 1;
}

function go(step) {
  const place = Math.min(Math.max(state.place + step, 0), state.shown.length - 1);
  if (place === state.place) return;
  state.place = place;
  drawZoom();
}

/** Shows the picture at the photo's own size, around a point given as shares of its sides. */
function setFull(full, x = 0.5, y = 0.5) {
  state.full = full;
  stage.classList.toggle("full", full);
  get("zoom-full").setAttribute("aria-pressed", String(full));
  if (!full) return;
  stage.scrollLeft = stage.scrollWidth * x - stage.clientWidth / 2;
  stage.scrollTop = stage.scrollHeight * y - stage.clientHeight / 2;
}

function setLayer(layer) {
  state.layer = layer;
  drawChoices();
  drawGallery(select());
  if (dialog.open) drawZoom();
}

stage.addEventListener("click", event => {
  const box = stage.firstElementChild.getBoundingClientRect();
  setFull(!state.full, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
});
dialog.addEventListener("click", event => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("close", () => {
  const index = state.shown[state.place];
  const isCard = opener && opener.classList.contains("card");
  drawGallery(select());
  const again = Array.from(document.querySelectorAll(".card")).find(own => own.dataset.photo === photos.id[index]);
  if (isCard && again) again.focus();
  else if (opener && opener.isConnected) opener.focus();
});
dialog.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const layer = LAYERS[Number(event.key) - 1];
  if (event.key === "ArrowRight" && !state.full) go(1);
  else if (event.key === "ArrowLeft" && !state.full) go(-1);
  else if (event.key === "z") setFull(!state.full);
  else if (layer) setLayer(layer);
  else return;
  event.preventDefault();
});
get("zoom-close").addEventListener("click", () => dialog.close());
get("zoom-back").addEventListener("click", () => go(-1));
get("zoom-next").addEventListener("click", () => go(1));
get("zoom-full").addEventListener("click", () => setFull(!state.full));

// ---- choices and filters

/** Buttons of which one is pressed; items are [value, name, note]. */
function makeChoice(place, items, chosen, choose) {
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.value : null;
  place.replaceChildren(
    ...items.map(([value, name, note]) =>
      make(
        "button",
        {type: "button", "data-value": value, "aria-pressed": String(value === chosen), onclick: () => choose(value)},
        name,
        note ? make("small", {}, " " + note) : null,
      ),
    ),
  );
  if (focused !== null) place.querySelector(`[data-value="${focused}"]`)?.focus();
}

function drawChoices() {
  const sorts = [["worst", "Worst"], ...(hasAgreement ? [["disputed", "Most disputed"]] : [])];
  makeChoice(get("sort"), sorts, state.sort, sort => {
    state.sort = sort;
    drawChoices();
    drawGallery(select());
  });
  makeChoice(
    get("layer"),
    LAYERS.map(layer => [layer, LAYER_NAMES[layer]]),
    state.layer,
    setLayer,
  );
}

function change(fields) {
  Object.assign(state, fields, {page: 0});
  get("subject").value = state.subject;
  get("view").value = state.view;
  if (get("group").value !== state.text) get("group").value = state.text;
  update();
}

function update() {
  const chosen = select(),
    focused = document.activeElement;
  const row = focused && focused.classList.contains("row") ? focused.querySelector(".name").textContent : null;
  const rows = focused && focused.closest(".rows");
  get("count").textContent = `${chosen.length.toLocaleString("en")} of ${plural(count, "photo")}`;
  drawHistogram(chosen);
  drawSpreads();
  drawGallery(chosen);
  drawList(chosen);
  if (row !== null)
    Array.from(rows.querySelectorAll(".row .name"))
      .find(name => name.textContent === row)
      ?.parentElement.focus();
}

function start() {
  get("judged").hidden = false;
  for (const link of document.querySelectorAll(".contents a")) link.hidden = false;
  get("subject").append(...subjects.map((subject, number) => make("option", {value: number}, subject.name)));
  get("view").append(
    make("option", {value: -1}, "all"),
    ...data.views.map((view, number) => make("option", {value: number}, view)),
  );
  get("view").parentElement.hidden = data.views.length < 2;
  get("by-view").hidden = data.views.length < 2;
  get("by-group").hidden = data.groups.length < 2 || data.groups.length === count;
  get("subject").addEventListener("change", event => change({subject: Number(event.target.value)}));
  get("view").addEventListener("change", event => change({view: Number(event.target.value)}));
  get("group").addEventListener("input", event => change({text: event.target.value, groups: FIRST_GROUPS}));
  get("group").form.addEventListener("submit", event => event.preventDefault());
  get("clear").addEventListener("click", () => change({view: -1, text: "", groups: FIRST_GROUPS}));
  get("back").addEventListener("click", () => {
    state.page--;
    drawList(select());
  });
  get("next").addEventListener("click", () => {
    state.page++;
    drawList(select());
  });
  drawChoices();
  update();
}

// ---- theme

const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  get("theme").textContent = "Theme: " + theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    /* no storage from disk: it is the system's next time */
  }
}

get("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % THEMES.length]);
});
let kept = null;
try {
  kept = localStorage.getItem("theme");
} catch {
  /* as above */
}
if (THEMES.includes(kept)) setTheme(kept);
window.addEventListener("beforeprint", () => {
  for (const image of document.images) image.loading = "eager";
});

drawCurves(get("curves"), data.curves);
if (count) start();
