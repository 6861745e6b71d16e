// The menu of what a player offers beside the picture: subtitles, sound, quality. Each person chooses for themselves, and the
// room never hears of it.
import { $, kept } from "./page.js";
import { sayBriefly } from "./notices.js";

/** A longer list is no menu. */
const MOST_TRACKS = 200;

/**
 * How a player has each kind, and from how many on there is a choice. `none` is what no track is called, where there may be
 * none. How good the picture is depends on the line, today's: that is not kept.
 */
const KINDS = [
  { id: "text-track", list: "textTracks", current: "textTrack", set: "setTextTrack", least: 1, none: "Off", isKept: true, what: "subtitles" },
  { id: "audio-track", list: "audioTracks", current: "audioTrack", set: "setAudioTrack", least: 2, none: null, isKept: true, what: "sound" },
  { id: "quality", list: "qualities", current: "quality", set: "setQuality", least: 2, none: "Automatic", isKept: false, what: "quality" },
];

const keptName = (provider) => `tracks.${provider}`;

/** What a bridge says is somebody else's: whatever it is, the page goes on. */
function ask(player, name) {
  try {
    return player[name];
  } catch (error) {
    console.warn(`the bridge could not say its ${name}`, error);
    return undefined;
  }
}

const text = (value) => (typeof value === "string" ? value.trim() : "");
const isId = (id) => typeof id === "string" || Number.isFinite(id);

function languageName(lang) {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(lang) ?? lang;
  } catch {
    // It is none.
    return lang;
  }
}

/** The tracks that a player offers of a kind: each with an id that no other has, and something to read. */
function tracksOf(player, kind) {
  const list = ask(player, kind.list);
  if (!Array.isArray(list) || typeof ask(player, kind.set) !== "function") return [];
  const tracks = new Map();
  for (const track of list.slice(0, MOST_TRACKS)) {
    if (!isId(track?.id) || tracks.has(String(track.id))) continue;
    const lang = text(track.lang);
    tracks.set(String(track.id), { id: track.id, lang, label: text(track.label) || languageName(lang) || String(track.id) });
  }
  return tracks.size >= kind.least ? [...tracks.values()] : [];
}

export class Tracks {
  #player = null;
  #provider = null;
  #isReady = false;
  /** What was chosen last with this player, for one that does not say what it shows. @type {Map<string, unknown>} */
  #chosen = new Map();
  /** Kinds whose kept choice has been looked for. */
  #restored = new Set();
  /** What each menu shows. */
  #shown = new Map();

  constructor() {
    for (const kind of KINDS) {
      $(kind.id).addEventListener("change", ({ target }) => {
        if (!this.#player) return;
        const track = tracksOf(this.#player, kind).find(({ id }) => String(id) === target.value) ?? null;
        this.#choose(kind, track);
      });
    }
  }

  /** Whose tracks are offered; null: nobody's. */
  use(player, provider = null) {
    this.#player = player;
    this.#provider = provider;
    this.#isReady = false;
    this.#chosen.clear();
    this.#restored.clear();
    const refresh = () => { if (player === this.#player) this.#refresh(); };
    player?.addEventListener("ready", () => {
      if (player === this.#player) this.#isReady = true;
      refresh();
    }, { once: true });
    player?.addEventListener("trackschange", refresh);
    this.#refresh();
  }

  #refresh() {
    for (const kind of KINDS) {
      const tracks = this.#player ? tracksOf(this.#player, kind) : [];
      if (tracks.length > 0 && this.#isReady && kind.isKept) this.#restore(kind, tracks);
      this.#show(kind, tracks);
    }
    $("tracks").hidden = KINDS.every(({ id }) => $(id).parentElement.hidden);
  }

  #show(kind, tracks) {
    const select = $(kind.id);
    const signature = JSON.stringify(tracks);
    // A menu that is open is not changed for nothing.
    if (this.#shown.get(kind) !== signature) {
      this.#shown.set(kind, signature);
      const options = tracks.map(({ id, lang, label }) => {
        const option = new Option(label, String(id));
        if (lang) option.lang = lang;
        return option;
      });
      if (kind.none !== null) options.unshift(new Option(kind.none, ""));
      select.replaceChildren(...options);
      select.parentElement.hidden = tracks.length === 0;
    }
    if (tracks.length > 0) select.value = String(this.#current(kind) ?? "");
  }

  #current(kind) {
    const said = ask(this.#player, kind.current);
    return said === undefined ? this.#chosen.get(kind.set) ?? null : said;
  }

  /** What this person chose last, for another film, if this one has it too. */
  #restore(kind, tracks) {
    if (this.#restored.has(kind)) return;
    const wish = kept.read(keptName(this.#provider), {})[kind.list];
    if (!wish) return;
    const alike = tracks.filter(({ lang }) => wish.lang && lang === wish.lang);
    const track = wish.isOff ? null : alike.find(({ label }) => label === wish.label) ?? alike[0];
    // It may still come.
    if (track === undefined) return;
    this.#restored.add(kind);
    if (this.#current(kind) !== (track?.id ?? null)) this.#tell(kind, track);
  }

  async #choose(kind, track) {
    // Their own choice is not overruled by an older one.
    this.#restored.add(kind);
    const player = this.#player;
    if (!(await this.#tell(kind, track))) {
      if (player === this.#player) sayBriefly("tracks", `The player could not change the ${kind.what}.`);
      return;
    }
    if (!kind.isKept || player !== this.#player) return;
    const choice = track ? { lang: track.lang, label: track.label } : { isOff: true };
    kept.write(keptName(this.#provider), { ...kept.read(keptName(this.#provider), {}), [kind.list]: choice });
  }

  /** Whether the player took it. */
  async #tell(kind, track) {
    const player = this.#player;
    const before = this.#chosen.get(kind.set);
    this.#chosen.set(kind.set, track?.id ?? null);
    let isTaken = true;
    try {
      await player[kind.set](track?.id ?? null);
    } catch (error) {
      console.warn(`the bridge could not change the ${kind.what}`, error);
      isTaken = false;
    }
    if (player === this.#player) {
      if (!isTaken) this.#chosen.set(kind.set, before);
      this.#refresh();
    }
    return isTaken;
  }
}
