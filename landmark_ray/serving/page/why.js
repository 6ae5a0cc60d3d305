// The dialog that says why a landmark is named: it draws the photo beside the photos that match it.

import { $, copy, nameOf } from "./dom.js";

const SCALE = 100;
const GAP = 4;
const BY_CHANCE = 10; // matching points that photos of different landmarks can have
const dialog = $("#why");
const narrow = matchMedia("(max-width: 40rem)");
let stop = new AbortController();
let redraws = [];

const shortened = (id) => (id.length > 9 ? `${id.slice(0, 8)}…` : id);
const say = (text) => ($("#why-note").textContent = text);

// Says what an explanation is; `joined` tells whether lines are drawn.
function summary({ kind, photos }, name, joined) {
  if (kind === "none") return `This service has no photos of ${name} to compare yours with.`;
  if (kind === "meaning") return `Points were not compared. These photos of ${name} are the most similar to yours:`;
  const { inliers, points } = photos[0];
  if (!inliers) return `No point of your photo matches a photo of ${name}. As a whole, these are similar:`;
  const chance = inliers > BY_CHANCE ? "" : " So few may match by chance.";
  const lines = joined ? ` Lines join ${points.length < inliers ? `${points.length} of them` : "them"}.` : "";
  return `${matching(inliers)} a photo of ${name}.${lines}${chance}`;
}

// Says of a photo what its picture shows, and whose it is.
function words({ image_id: id, inliers, similarity, author, licence }, name) {
  const whose = author || licence ? ` Photo: ${[author, licence].filter(Boolean).join(", ")}.` : "";
  const likeness = similarity === null ? "" : ` Similarity: ${similarity.toFixed(2)} of at most 1.`;
  const photo = inliers === null ? "Photo" : `${matching(inliers)} photo`;
  return `${photo} ${shortened(id)} of ${name}.${likeness}${whose}`;
}

// Begins a sentence about matching points.
function matching(inliers) {
  if (inliers === 1) return "1 point of your photo matches";
  return `${inliers || "No"} points of your photo match`;
}

// Loads an image; resolves to null where the browser can't show it.
async function load(source, alt) {
  const image = Object.assign(new Image(), { src: source, alt });
  return image.decode().then(() => image, () => null);
}

// Lays photos side by side, or on a narrow screen one above the other, and joins their points.
function draw(picture, images, points) {
  const stacked = narrow.matches;
  const boxes = [];
  let length = 0;
  for (const { naturalWidth: width, naturalHeight: height } of images) {
    const extent = SCALE * (stacked ? height / width : width / height);
    boxes.push(stacked ? [0, length, SCALE, extent] : [length, 0, extent, SCALE]);
    length += extent + GAP;
  }
  const [width, height] = stacked ? [SCALE, length - GAP] : [length - GAP, SCALE];
  picture.style.setProperty("--ratio", width / height);
  boxes.forEach(([x, y, w, h], i) => {
    const [left, top] = [`${(100 * x) / width}%`, `${(100 * y) / height}%`];
    Object.assign(images[i].style, { left, top, width: `${(100 * w) / width}%`, height: `${(100 * h) / height}%` });
  });
  const places = points.map((shares) =>
    shares.map(([across, down], i) => `${boxes[i][0] + across * boxes[i][2]} ${boxes[i][1] + down * boxes[i][3]}`));
  const lines = places.map((ends) => `M${ends.join("L")}`).join("");
  const dots = places.flat().map((end) => `M${end}h.01`).join("");
  $("svg", picture).setAttribute("viewBox", `0 0 ${width} ${height}`);
  $(".casing", picture).setAttribute("d", lines);
  $(".lines", picture).setAttribute("d", lines);
  $(".dots", picture).setAttribute("d", dots);
}

// Enlarges a picture around a point of it, or lets it fit the dialog again.
function toggle(item, event) {
  const [stage, picture, button] = [".stage", ".picture", ".enlarge"].map((part) => $(part, item));
  const box = picture.getBoundingClientRect();
  const pointed = event.currentTarget === stage;
  const across = pointed ? (event.clientX - box.left) / box.width : 0.5;
  const down = pointed ? (event.clientY - box.top) / box.height : 0.5;
  const enlarged = stage.classList.toggle("enlarged");
  if (enlarged) stage.tabIndex = 0;
  else stage.removeAttribute("tabindex");
  button.textContent = enlarged ? "Reduce" : "Enlarge";
  button.ariaLabel = `${button.textContent} ${stage.ariaLabel}`;
  stage.scrollTo(
    across * picture.offsetWidth - stage.clientWidth / 2,
    down * picture.offsetHeight - stage.clientHeight / 2,
  );
}

// Makes the entry of a near photo: its words, and the picture where there is one.
async function entry(near, name, own) {
  const item = copy("#near-photo");
  $(".words", item).textContent = words(near, name);
  $(".words", item).title = near.image_id;
  const alt = `Photo ${shortened(near.image_id)} of ${name}`;
  const exemplar = near.thumbnail && (await load(`data:image/jpeg;base64,${near.thumbnail}`, alt));
  const photo = exemplar && (await load(own, "Your photo"));
  $(".stage", item).hidden = $(".enlarge", item).hidden = !exemplar;
  if (!exemplar) return item;
  const images = photo ? [photo, exemplar] : [exemplar];
  const points = near.points.map((point) => (photo ? [point.photo, point.exemplar] : [point.exemplar]));
  $(".picture", item).prepend(...images);
  $(".stage", item).ariaLabel = photo ? `your photo and photo ${shortened(near.image_id)}` : alt;
  $(".enlarge", item).ariaLabel = `Enlarge ${$(".stage", item).ariaLabel}`;
  $(".stage", item).onclick = $(".enlarge", item).onclick = (event) => toggle(item, event);
  const redraw = () => draw($(".picture", item), images, points);
  redraws.push(redraw);
  redraw();
  return item;
}

// Shows an answer with an explanation.
async function show({ landmarks: [landmark], explanation }, own, signal) {
  const name = landmark ? nameOf(landmark) : "this landmark";
  const entries = await Promise.all(explanation.photos.map((near) => entry(near, name, own)));
  if (signal.aborted) return;
  $("#why-title").textContent = `Why ${name}?`;
  $("#near").replaceChildren(...entries);
  say(summary(explanation, name, $("#near img + img")));
}

// Opens the dialog about a landmark, asks for the explanation, and shows it or why there is none.
// `ask` sends the photo; the promise resolves to the response's status, or 0 without one.
export async function openWhy(file, landmark, ask) {
  stop = new AbortController();
  const { signal } = stop;
  const own = URL.createObjectURL(file);
  signal.addEventListener("abort", () => URL.revokeObjectURL(own));
  $("#why-title").textContent = `Why ${nameOf(landmark)}?`;
  say("Comparing your photo with photos of the landmark…");
  dialog.showModal();
  const response = await ask(signal).catch(() => null);
  const result = await response?.json().catch(() => null);
  if (signal.aborted) return 0;
  const answer = result?.photos?.[0];
  if (!response) say("The connection failed: close this and ask again.");
  else if (response.status === 401) dialog.close();
  else if (answer?.explanation) await show(answer, own, signal);
  else say(answer?.error ?? result?.error ?? "The service sent no explanation.");
  return response?.status ?? 0;
}

narrow.onchange = () => redraws.forEach((redraw) => redraw());
$(".close", dialog).onclick = () => dialog.close();
dialog.onclose = () => {
  stop.abort();
  redraws = [];
  $("#near").replaceChildren();
};
