"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 50; // rows of the table of landmarks
const find = (id) => document.getElementById(id);
const counted = (n) => n.toLocaleString("en");

// Marks: "image 0a1b" or "landmark 12" -> a line of the csv. They outlive a reload.
const STORE = `landmark_ray ${data.root} ${data.key}`;
const marks = new Map();
// A button names a landmark, or one or more images.
function namesOf({ image, images, landmark }) {
  if (landmark) return [{ image_id: "", landmark_id: landmark }];
  const ids = images ? JSON.parse(images) : [image];
  return ids.map((id) => ({ image_id: id, landmark_id: "" }));
}
const keysOf = (button) => namesOf(button).map(keyOf);
const keyOf = (mark) => (mark.image_id ? `image ${mark.image_id}` : `landmark ${mark.landmark_id}`);

function load() {
  let lines = data.marks;
  try {
    lines = JSON.parse(localStorage.getItem(STORE)) ?? lines;
  } catch {
    // a browser may keep nothing for pages from a disk
  }
  for (const line of lines) marks.set(keyOf(line), line);
}

function save() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...marks.values()]));
  } catch {
    // as above
  }
  show();
}

function show() {
  for (const button of document.querySelectorAll("[data-verdict]")) {
    const marked = keysOf(button.dataset).every((key) => marks.get(key)?.verdict === button.dataset.verdict);
    button.setAttribute("aria-pressed", String(marked));
  }
  const keep = [...marks.values()].filter((mark) => mark.verdict === "keep").length;
  const drop = marks.size - keep;
  find("mark-count").textContent = marks.size ? `${counted(keep)} to keep, ${counted(drop)} to drop` : "No marks";
  find("review").classList.toggle("empty", !marks.size);
  find("download").disabled = find("clear").disabled = !marks.size;
}

function toggle(button) {
  const { verdict } = button;
  const reason = find("mark-reason").value.trim();
  const given = namesOf(button).map((name) => ({ verdict, ...name, reason }));
  const all = given.every((mark) => marks.get(keyOf(mark))?.verdict === verdict);
  for (const mark of given) {
    if (all) marks.delete(keyOf(mark));
    else marks.set(keyOf(mark), mark);
  }
  save();
}

const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function csv() {
  const rows = [...marks.values()].map((mark) => data.columns.map((name) => cell(String(mark[name] ?? ""))));
  return [data.columns, ...rows].map((row) => row.join(",") + "\n").join("");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "verdicts.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Commands to copy.
let quiet;
async function copy(text) {
  clearTimeout(quiet);
  try {
    await navigator.clipboard.writeText(text);
    find("copied").textContent = `Copied: ${text}`;
    quiet = setTimeout(() => (find("copied").textContent = ""), 6000);
  } catch { // to be copied by hand, in one's own time
    find("copied").textContent = text;
    getSelection().selectAllChildren(find("copied"));
  }
}

// The table of landmarks.
const classes = data.classes;
const lower = classes.name.map((name) => name.toLowerCase());
const all = classes.id.map((_, i) => i);
const state = { rows: all, page: 0, sort: "kept", down: true };
const FILTERS = {
  all: () => true,
  kept: (i) => classes.kept[i] > 0,
  gone: (i) => classes.kept[i] === 0,
  half: (i) => classes.kept[i] > 0 && classes.kept[i] * 2 <= classes.usable[i],
};

function choose() {
  const words = find("class-search").value.trim().toLowerCase();
  const fits = FILTERS[find("class-filter").value];
  const { sort, down } = state;
  const column = classes[sort];
  const order = sort === "name" ? (a, b) => column[a].localeCompare(column[b]) : (a, b) => column[a] - column[b];
  state.rows = all.filter((i) => fits(i) && (!words || lower[i].includes(words) || String(classes.id[i]) === words));
  state.rows.sort((a, b) => (down ? order(b, a) : order(a, b)) || a - b);
  state.page = 0;
  list();
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function command(...conditions) {
  const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);
  const where = conditions.flatMap((condition) => ["--where", condition]);
  return [".venv/bin/python", "jobs/rows.py", "--root", data.root, "--table", "cleaned", ...where].map(quote).join(" ");
}

function numbered(count, ...conditions) {
  const button = element("button", { type: "button", className: "number", title: "Copy the command that lists these rows" }, counted(count));
  button.dataset.copy = command(...conditions);
  return element("td", {}, button);
}

function row(i) {
  const id = String(classes.id[i]);
  const buttons = ["keep", "drop"].map((verdict) => {
    const button = element("button", { type: "button" }, verdict === "keep" ? "Keep" : "Drop");
    Object.assign(button.dataset, { verdict, landmark: id });
    button.setAttribute("aria-label", `${button.textContent} landmark ${id}`);
    return button;
  });
  const here = `landmark_id=${id}`;
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, id),
    element("td", { className: "left wide" }, classes.name[i]),
    element("td", {}, counted(classes.images[i])),
    numbered(classes.usable[i], here),
    numbered(classes.unverified[i], here, "reason=unverified"),
    numbered(classes.kept[i], here, "keep=true"),
    element("td", { className: "left" }, element("div", { className: "marks" }, ...buttons)),
  );
}

function list() {
  const pages = Math.max(Math.ceil(state.rows.length / PAGE), 1);
  const start = state.page * PAGE;
  document.querySelector("#class-table tbody").replaceChildren(...state.rows.slice(start, start + PAGE).map(row));
  find("class-count").textContent = `${counted(state.rows.length)} of ${counted(all.length)} landmarks`;
  find("page-number").textContent = `Page ${counted(state.page + 1)} of ${counted(pages)}`;
  find("previous").disabled = state.page === 0;
  find("next").disabled = state.page + 1 >= pages;
  for (const button of document.querySelectorAll("[data-sort]")) {
    const now = button.dataset.sort === state.sort ? (state.down ? "descending" : "ascending") : "none";
    button.parentElement.setAttribute("aria-sort", now);
  }
  show();
}

function turn(step) {
  state.page += step;
  list();
}

function filterCards() {
  const words = find("card-filter").value.trim().toLowerCase();
  let seen = 0;
  for (const card of document.querySelectorAll(".card[data-words]")) {
    card.hidden = !card.dataset.words.toLowerCase().includes(words);
    seen += !card.hidden;
  }
  find("card-count").textContent = words ? `${counted(seen)} cards` : "";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { verdict, copy: text, sort } = button.dataset;
  if (verdict) toggle(button.dataset);
  else if (text) copy(text);
  else if (sort) {
    state.down = state.sort === sort ? !state.down : sort !== "name" && sort !== "id";
    state.sort = sort;
    choose();
  }
});
find("class-search").addEventListener("input", choose);
find("class-filter").addEventListener("change", choose);
find("card-filter").addEventListener("input", filterCards);
find("previous").addEventListener("click", () => turn(-1));
find("next").addEventListener("click", () => turn(1));
find("download").addEventListener("click", download);
find("clear").addEventListener("click", () => {
  marks.clear();
  save();
});
load();
choose();
