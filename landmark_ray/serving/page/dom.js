// What the modules of the page share.

export const $ = (selector, root = document) => root.querySelector(selector);
export const copy = (template) => $(template).content.firstElementChild.cloneNode(true);
export const nameOf = (landmark) => landmark.name || `Landmark ${landmark.landmark_id}`;
