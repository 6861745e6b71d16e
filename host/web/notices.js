// What the page has to say beside the player: a line per topic, each standing for as long as it is true.
import { $ } from "./page.js";

/** What was true of one moment only stands for so long. */
const PASSING_MS = 6000;

const lines = new Map();
const timers = new Map();

/** Says something about a topic in place of what was said about it before; nothing takes it back. */
export function say(topic, text = null) {
  clearTimeout(timers.get(topic));
  if ((lines.get(topic) ?? null) === text) return;
  if (text === null) lines.delete(topic);
  else lines.set(topic, text);
  show();
}

/** Says it for a moment. */
export function sayBriefly(topic, text) {
  say(topic, text);
  timers.set(topic, setTimeout(() => say(topic), PASSING_MS));
}

export function sayNothing() {
  for (const topic of [...lines.keys()]) say(topic);
}

function show() {
  $("notice").hidden = lines.size === 0;
  $("notice").replaceChildren(...[...lines.values()].map((text) => {
    const line = document.createElement("p");
    line.textContent = text;
    return line;
  }));
}

/** What lies over the player: a text, and one thing to do (`enter`, `unblock`, `home-link`). */
export function cover(text, part = null) {
  $("cover").hidden = text === null;
  $("cover-text").textContent = text ?? "";
  for (const id of ["enter", "unblock", "home-link"]) $(id).hidden = id !== part;
}
