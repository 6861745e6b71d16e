// What both pages need of the document and of this browser.

/** Where the server is: the folder above this file's, whatever a proxy has put before it. */
const root = new URL("..", import.meta.url);

/** The address of something of the server's, like `r/K7QM2X`. */
export const at = (path) => new URL(path, root).href;

/** Two servers below different paths of one origin keep their things apart. */
const prefix = `streamit${root.pathname.replace(/\/$/, "")}`;

/** @param {string} id */
export const $ = (id) => document.getElementById(id);

/** Sets a property that shows. What says the same as before would be laid out and painted again all the same. */
export function put(element, property, value) {
  if (element[property] !== value) element[property] = value;
}

/**
 * Texts in a storage of the browser's; without it nothing is kept, and nothing breaks. `area` is asked each time: where
 * storage is forbidden, even naming it throws.
 */
const texts = (area) => ({
  read(name) {
    try {
      return area().getItem(`${prefix}.${name}`);
    } catch {
      return null;
    }
  },
  write(name, text) {
    try {
      if (text === null) area().removeItem(`${prefix}.${name}`);
      else area().setItem(`${prefix}.${name}`, text);
    } catch {
      // It cannot be kept.
    }
  },
});

/** What this tab keeps over a reload. */
export const keptHere = texts(() => sessionStorage);

/** What this browser keeps, as texts. */
export const keptTexts = texts(() => localStorage);

/** The same, as values. */
export const kept = {
  read(name, fallback = null) {
    try {
      return JSON.parse(keptTexts.read(name)) ?? fallback;
    } catch {
      return fallback;
    }
  },
  write(name, value) {
    keptTexts.write(name, JSON.stringify(value));
  },
};

/** What is played, for people who know it by its id. */
export const describe = ({ external_id, season, episode }) => season == null ? external_id : `${external_id} · S${season} E${episode}`;

export function clockText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** The same for those who hear it. */
export function spokenTime(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 3600), "hour"], [Math.floor(whole / 60) % 60, "minute"], [whole % 60, "second"]];
  const said = parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}${n === 1 ? "" : "s"}`);
  return said.join(" ") || "the start";
}

/** A character that leaves a mark, as the server has it (`can_be_seen`). */
const MARK = /[^\p{White_Space}\p{Cc}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffb]/u;

/**
 * Text a person typed, as the server counts it: whole characters, at most `most` of them. Half a character (a lone
 * surrogate) is none. `wrong` says in words why the server would not take it; `what` it is.
 */
export function typed(text, most, what) {
  const whole = text.toWellFormed().trim();
  let wrong = "";
  if ([...whole].length > most) wrong = `A ${what} has at most ${most} characters.`;
  else if (whole && !MARK.test(whole)) wrong = `There is nothing to see in this ${what}.`;
  return { text: whole, wrong };
}

/** Text where nothing can be put around it, like the name of a tab: without the signs that turn what follows them. */
export const unturned = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, "");

/** The code in what somebody typed or pasted: a code, or a room's whole address. */
export function codeIn(text) {
  const trimmed = text.trim();
  // The server may be below a path that looks the same: the last one counts.
  const path = trimmed.match(/.*\/r\/([^/?#\s]+)/);
  const code = path ? path[1] : trimmed.replace(/[\s-]/g, "");
  try {
    return decodeURIComponent(code).toUpperCase();
  } catch {
    return code.toUpperCase();
  }
}
