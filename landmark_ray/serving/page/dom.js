// What the modules of the page share.

export const $ = (selector, root = document) => root.querySelector(selector);
export const nameOf = (landmark) => landmark.name || `Landmark ${landmark.landmark_id}`;
// Imported, since images that enter the document of a template are unloaded.
export const copy = (template) => document.importNode($(template).content.firstElementChild, true);
