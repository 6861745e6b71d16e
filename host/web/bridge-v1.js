// Helpers for bridges, the browser half of a provider: one version for ever, so that a bridge may rely on them.
//
// A bridge's default export is `mount(stage, options) → Player`:
//   options.url          the derived URL
//   options.startAt      where to start, in seconds: for players that take it in their address; the page seeks otherwise
//   options.autoplay     whether to be playing
//   options.params       what the person chose of the manifest's render_params: { name: value }
//   options.player       the manifest's [player] table
//   options.interactive  whether the person may move the player: the room's host

/**
 * A player as the page sees it: a small HTMLMediaElement. Times are in seconds.
 *
 * Events: ready play pause seeked timeupdate waiting ended error ratechange.
 * An event says what the player did, whoever wished it: the page tells its own orders from the person's. Two things are
 * nobody's wish and are no events: what a player does while it starts, and an advertisement (that is `stalled`).
 */
export class Player extends EventTarget {
  /** Where it is. While it seeks: where it goes. @returns {number} */
  get currentTime() { return 0; }
  /** NaN while it is not known, Infinity for a stream without an end. @returns {number} */
  get duration() { return NaN; }
  get paused() { return true; }
  /** A seek, or the loading of another address, is under way. */
  get seeking() { return false; }
  /** It has nothing to show: it buffers, or an advertisement is in the way. Also while paused. */
  get stalled() { return false; }
  /**
   * How its speed can be set: "free" (any, near 1: it can be held to the room by bending), "steps" or "none". With
   * "free" a bridge has `playbackRate` to read and write.
   * @returns {"free" | "steps" | "none"}
   */
  get rate() { return "playbackRate" in this ? "free" : "none"; }
  /** Resolves when it plays; rejects with NotAllowedError when the browser wants a click first. */
  async play() {}
  pause() {}
  seek(_seconds) {}
  destroy() {}

  // Where a player has them, a bridge may also offer: `muted` (boolean) and `volume` (0 to 1), to read and write.

  emit(type, detail = undefined) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The error a browser gives for playing without a click, for players that only report it. */
export function notAllowed() {
  return new DOMException("the browser wants a click before it plays", "NotAllowedError");
}

/** `url` with parameters appended; null and undefined are left out. */
export function withParams(url, params) {
  const result = new URL(url, location.href);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") result.searchParams.set(name, String(value));
  }
  return result.href;
}

/** A position is reported now and then; between two reports it moves on by itself, but not for longer than this. */
const MAX_EXTRAPOLATION_S = 1;

/** A report this near to where a player was sent says that it is there: players go to the nearest key frame. */
const NEAR_S = 1.5;

/** A player that is still elsewhere after this is not coming: it is where it says. */
const SEEK_PATIENCE_MS = 10_000;

/** A player inside a frame of another origin, reached by messages. */
export class FramePlayer extends Player {
  #stage;
  #options;
  #frame = null;
  #position = 0;
  #positionAt = 0;
  #paused = true;
  #stalled = false;
  #duration = NaN;
  /** Where it was sent, when, and how long that may take. */
  #aim = null;
  #listener = (event) => this.#hear(event);

  constructor(stage, options) {
    super();
    this.#stage = stage;
    this.#options = options;
    this.#position = options.startAt || 0;
    this.#positionAt = performance.now();
    addEventListener("message", this.#listener);
  }

  get options() { return this.#options; }
  get stage() { return this.#stage; }
  get frame() { return this.#frame; }
  get duration() { return this.#duration; }
  get paused() { return this.#paused; }
  get stalled() { return this.#stalled; }
  get seeking() { return this.#aim !== null; }
  get currentTime() {
    if (this.#aim) return this.#aim.seconds;
    if (this.#paused || this.#stalled) return this.#position;
    return this.#position + Math.min((performance.now() - this.#positionAt) / 1000, MAX_EXTRAPOLATION_S);
  }

  /** Puts a frame with `url` in the stage, in place of the one before. `loaded` runs at its load event. */
  load(url, loaded = () => {}) {
    this.unload();
    const { allow = [], sandbox } = this.#options.player;
    const frame = document.createElement("iframe");
    frame.title = "Video player";
    frame.allow = allow.join("; ");
    frame.allowFullscreen = allow.includes("fullscreen");
    // Some players refuse to start without knowing which site embeds them.
    frame.referrerPolicy = "strict-origin-when-cross-origin";
    if (sandbox) frame.sandbox.add(...sandbox);
    frame.addEventListener("load", () => frame === this.#frame && loaded());
    frame.src = url;
    this.#frame = frame;
    this.#stage.append(frame);
  }

  unload() {
    this.#frame?.remove();
    this.#frame = null;
  }

  /** Sends to the frame, and to no other origin than its own. */
  post(message) {
    if (this.#frame?.contentWindow) this.#frame.contentWindow.postMessage(message, new URL(this.#frame.src).origin);
  }

  /** A message of the frame's, parsed. Bridges override it. */
  receive(_message) {}

  /**
   * The player has been sent there: until it says so itself, its reports are of where it was before. `patienceMs` is how
   * long it may take.
   */
  aim(seconds, patienceMs = SEEK_PATIENCE_MS) {
    this.#aim = { seconds, at: performance.now(), patienceMs };
  }

  /**
   * Sets the position a report gave, and the moment (of performance.now()) at which it was true; anything that is not a
   * number is ignored. Answers whether it was taken: not if it is of before a seek that is under way.
   */
  report(seconds, at = performance.now()) {
    if (!Number.isFinite(seconds) || seconds < 0) return false;
    if (this.#aim) {
      const since = performance.now() - this.#aim.at;
      const ran = this.#paused ? 0 : since / 1000;
      const isThere = seconds > this.#aim.seconds - NEAR_S && seconds < this.#aim.seconds + ran + NEAR_S;
      if (!isThere && since < this.#aim.patienceMs) return false;
      this.#aim = null;
      this.#set(seconds, at);
      this.emit("seeked");
      return true;
    }
    this.#set(seconds, at);
    return true;
  }

  reportDuration(seconds) {
    if (Number.isFinite(seconds) && seconds > 0) this.#duration = seconds;
  }

  /** Sets whether it plays, and says so if that is news. */
  reportPaused(paused) {
    if (paused === this.#paused) return;
    const position = this.#aim ? this.#position : this.currentTime;
    this.#paused = paused;
    this.#set(position, performance.now());
    this.emit(paused ? "pause" : "play");
  }

  /** Sets whether it has nothing to show, and says `waiting` if that is news. */
  reportStalled(stalled) {
    if (stalled === this.#stalled) return;
    const position = this.#aim ? this.#position : this.currentTime;
    this.#stalled = stalled;
    this.#set(position, performance.now());
    if (stalled) this.emit("waiting");
  }

  destroy() {
    removeEventListener("message", this.#listener);
    this.unload();
  }

  #set(seconds, at) {
    this.#position = seconds;
    this.#positionAt = at;
  }

  #hear(event) {
    // A frame that was replaced, another frame, another site: all fail one of these.
    if (!this.#frame || event.source !== this.#frame.contentWindow) return;
    if (!this.#options.player.embed_origins.includes(event.origin)) return;
    let message = event.data;
    if (typeof message === "string") {
      try {
        message = JSON.parse(message);
      } catch {
        return;
      }
    }
    if (message !== null && typeof message === "object") this.receive(message);
  }
}
