// The page of the service: it sends photos and shows their landmarks.
// File names and texts of the server are inserted as text, never as markup.

import { $, copy, nameOf } from "./dom.js";
import { openWhy } from "./why.js";

const MAX_CONCURRENT = 2;
const RETRIES = 3;
const KEY = "landmark_ray.key";
const UNUSABLE = "This photo can’t be used";

const isBusy = ({ status }) => status === 429 || status === 503;

const queue = [];
let running = 0;
let asking = false;
let key = storage((tab) => tab.getItem(KEY)) ?? "";

// Calls `use` with the tab's storage and returns its result, or null where storage is forbidden.
function storage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}

// Adds a line that screen readers read out.
function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("#status").append(line);
  if ($("#status").childElementCount > 8) $("#status").firstChild.remove();
}

// Writes 0.9731 as 97.3%; a share between 0 and 1 is never rounded to 0% or 100%.
function percent(share) {
  if (share > 0 && share < 0.001) return "<0.1%";
  if (share < 1 && share >= 0.9995) return ">99.9%";
  return `${(share * 100).toFixed(1)}%`;
}

// Returns the name, as a link where the landmark has a web page.
function linkOf(landmark) {
  if (!/^https?:\/\//i.test(landmark.category)) return nameOf(landmark);
  const link = document.createElement("a");
  Object.assign(link, { href: landmark.category, target: "_blank", rel: "noopener noreferrer" });
  link.title = `Opens ${link.host} in a new tab`;
  link.textContent = nameOf(landmark);
  return link;
}

// Fills a row with the name, percentage and bar of one landmark.
function fill(row, landmark) {
  $(".name", row).replaceChildren(linkOf(landmark));
  $(".score", row).textContent = percent(landmark.confidence);
  const meter = $("meter", row);
  meter.value = landmark.confidence;
  meter.ariaLabel = `Confidence in ${nameOf(landmark)}`;
  meter.style.setProperty("--share", `${landmark.confidence * 100}%`);
  return row;
}

// Shows the state of a photo; the style sheet hides the other states' elements.
function show({ card }, state, title, note = "", landmarks = []) {
  const known = state === "known";
  card.className = `card ${state}`;
  $("h3", card).textContent = title;
  if (known) fill($(".first", card), landmarks[0]);
  const rows = landmarks.slice(known ? 1 : 0).map((landmark) => fill(copy("#candidate"), landmark));
  $(".others", card).replaceChildren(...(known ? rows : []));
  $(".closest", card).replaceChildren(...(known ? [] : rows));
  $(".note", card).textContent = note;
  const focused = document.activeElement;
  if (card.contains(focused) && !focused.checkVisibility()) $("h3", card).focus();
}

// Shows that a photo got no answer, and why.
function fail(job, title, note, again = false) {
  if (job.stop.signal.aborted) return;
  show(job, again ? "failed retry" : "failed", title, note);
  announce(`${job.file.name}: ${title}. ${note}`);
}

// Shows the server's answer about one photo.
function answer(job, { photos, model_version: version, warning }) {
  const { is_landmark: known, landmarks, error } = photos[0];
  if (error) return fail(job, UNUSABLE, error);
  const title = known ? nameOf(landmarks[0]) : "Probably not a landmark";
  const caution = warning ? "This model can't tell when a photo shows something else." : "";
  const note = known ? caution : "Nothing on it looks enough like a landmark that the model knows.";
  show(job, known ? "known" : "stranger", title, note, landmarks);
  $(".why", job.card).ariaLabel = `Why ${title}?`;
  $(".why", job.card).onclick = () => explain(job, landmarks[0]);
  showVersion(version);
  announce(`${job.file.name}: ${title}${known ? `, ${percent(landmarks[0].confidence)}` : ""}`);
}

// Opens the dialog that says why the first landmark is named.
async function explain(job, landmark) {
  const used = key;
  const status = await openWhy(job.file, landmark, (signal) => send(job, "top_k=1&explain=true", signal));
  if (status === 401) askKey(job, used);
}

// Shows the result of a request that is not repeated automatically.
async function showResult(job, response) {
  const result = await response.json().catch(() => null);
  const reason = result?.error ?? `The service answered with status ${response.status}.`;
  if (response.ok) answer(job, result);
  else if ([400, 413, 415, 422].includes(response.status)) fail(job, UNUSABLE, reason);
  else fail(job, isBusy(response) ? "The service is still busy" : "No answer", reason, true);
}

// Waits as long as a busy server asks; resolves to false if the user cancels.
function countdown(job, response, retry) {
  let left = Math.min(Math.max(parseInt(response.headers.get("Retry-After")) || 2, 1), 120);
  announce(`${job.file.name}: the service is busy. Trying again in ${left} s.`);
  return new Promise((resolve) => {
    const end = (retrying) => {
      clearInterval(timer);
      resolve(retrying);
    };
    const tick = () => {
      if (left) show(job, "busy", "The service is busy", `Trying again in ${left} s (${retry} of ${RETRIES}).`);
      else end(true);
      left -= 1;
    };
    const timer = setInterval(tick, 1000);
    job.cancel = () => end(false);
    tick();
  });
}

// Sends one photo; the key is sent in a header and nowhere else.
function send(job, query = "top_k=5", signal = job.stop.signal) {
  const body = new FormData();
  body.append("photo", job.file);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  return fetch(`predict?${query}`, { method: "POST", body, headers, signal });
}

// Names the version of the models in the footer.
function showVersion(version) {
  $("#version").textContent = `Model ${version}`;
}

// Recognises one photo, and tries again while the service is busy.
async function recognise(job) {
  for (let retry = 1; ; retry += 1) {
    show(job, "working", "Looking…");
    const used = key;
    const response = await send(job).catch(() => null);
    if (!response) return explainFailure(job);
    if (response.status === 401) return askKey(job, used);
    if (!isBusy(response) || retry > RETRIES) return showResult(job, response);
    if (!(await countdown(job, response, retry))) return fail(job, "Cancelled", "The service was busy.", true);
  }
}

// Says why a request failed: the file is gone, or there is no connection.
async function explainFailure(job) {
  const readable = await job.file.slice(0, 1).arrayBuffer().catch(() => null);
  if (readable) fail(job, "Can’t reach the service", "The connection failed.", true);
  else fail(job, UNUSABLE, "The file can’t be read. Was it moved or changed?");
}

// Starts photos of the queue, up to the limit of concurrent requests.
async function next() {
  if (running >= MAX_CONCURRENT || !queue.length || asking) return;
  const job = queue.shift();
  running += 1;
  next();
  await recognise(job).catch(() => fail(job, "No answer", "The service sent an unexpected answer.", true));
  running -= 1;
  next();
}

// Adds a photo to the end of the queue.
function enqueue(job) {
  show(job, "waiting", "Waiting for its turn");
  queue.push(job);
}

// Puts a photo back at the front and asks for a key, unless there is a newer key already.
function askKey(job, used) {
  show(job, "waiting", "Waiting for the key");
  queue.unshift(job);
  if (key !== used || asking) return;
  asking = true;
  storage((tab) => tab.removeItem(KEY));
  key = "";
  if (used) $("#key-note").textContent = "That key was not accepted.";
  $("#key-form").classList.toggle("refused", used);
  $("#key-form").hidden = false;
  $("#key").focus();
  announce($("#key-note").textContent);
}

// Uses the key that was typed, and continues.
function useKey(event) {
  event.preventDefault();
  key = $("#key").value.trim();
  storage((tab) => tab.setItem(KEY, key));
  $("#key").value = "";
  $("#choose").focus();
  $("#key-form").hidden = true;
  asking = false;
  next();
}

// Cancels a photo's request and removes its card.
function remove(job) {
  const neighbour = job.card.nextElementSibling ?? job.card.previousElementSibling;
  job.stop.abort();
  job.cancel();
  if (queue.includes(job)) queue.splice(queue.indexOf(job), 1);
  job.card.remove();
  (neighbour ? $(".remove", neighbour) : $("#choose")).focus();
}

// Makes a card for a file, with a preview where the browser can show one.
function createJob(file) {
  const card = copy("#card");
  const job = { file, card, stop: new AbortController(), cancel: () => {} };
  const image = $("img", card);
  image.src = URL.createObjectURL(file);
  image.alt = `Your photo ${file.name}`;
  image.onload = image.onerror = ({ type }) => {
    URL.revokeObjectURL(image.src);
    $("figure", card).className = type;
  };
  $("figcaption", card).textContent = file.name;
  $(".remove", card).ariaLabel = `Remove ${file.name}`;
  $(".remove", card).onclick = () => remove(job);
  $(".cancel", card).onclick = () => job.cancel();
  $(".again", card).onclick = () => {
    enqueue(job);
    next();
  };
  return job;
}

// Adds files above the older ones, in their own order.
function add(files) {
  const jobs = Array.from(files, createJob);
  if (!jobs.length) return;
  $("#cards").prepend(...jobs.map((job) => job.card));
  jobs[0].card.scrollIntoView({ block: "nearest" });
  announce(jobs.length > 1 ? `Looking at ${jobs.length} photos` : `Looking at ${jobs[0].file.name}`);
  jobs.forEach(enqueue);
  next();
}

// Makes a button open a file chooser.
function connectPicker(button, input) {
  $(button).onclick = () => $(input).click();
  $(input).onchange = () => {
    add($(input).files);
    $(input).value = "";
  };
}

// Handles files that are dragged over the window, or dropped.
function onDrag(event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.toggle("dragging", event.type === "dragover");
  if (event.type === "drop") add(event.dataTransfer.files);
}

connectPicker("#choose", "#files");
connectPicker("#take", "#camera");
for (const type of ["dragover", "dragleave", "drop"]) addEventListener(type, onDrag);
addEventListener("paste", (event) => add(event.clipboardData.files));
$("#key-form").onsubmit = useKey;
fetch("readyz")
  .then((response) => response.json())
  .then(({ version }) => version && !$("#version").textContent && showVersion(version))
  .catch(() => {});
