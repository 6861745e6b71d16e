// Helpers for bridges, the browser half of a provider: one version for ever, so that a bridge may rely on them.
//
// A bridge's default export is `mount(stage, options) → Player`:
//   options.url          the derived URL
//   options.startAt      where to start, in seconds
//   options.autoplay     whether to be playing
//   options.params       what the person chose of the manifest's render_params: { name: value }
//   options.player       the manifest's [player] table
//   options.interactive  whether the person may move the player: the room's host

/**
 * A player as the page sees it: a small HTMLMediaElement.
 * Events: ready play pause seeked timeupdate waiting ended error. Times are in seconds.
 */
export class Player extends EventTarget {
  /** @returns {number} */
  get currentTime() { return 0; }
  get duration() { return NaN; }
  get paused() { return true; }
  /** Resolves when it plays; rejects with NotAllowedError when the browser wants a click first. */
  async play() {}
  pause() {}
  seek(_seconds) {}
  destroy() {}

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
const MAX_EXTRAPOLATION_S = 5;

/** A player inside a frame of another origin, reached by messages. */
export class FramePlayer extends Player {
  #stage;
  #options;
  #frame = null;
  #position = 0;
  #positionAt = 0;
  #paused = true;
  #duration = NaN;
  #listener = (event) => this.#hear(event);

  constructor(stage, options) {
    super();
    this.#stage = stage;
    this.#options = options;
    this.#position = options.startAt || 0;
    addEventListener("message", this.#listener);
  }

  get options() { return this.#options; }
  get stage() { return this.#stage; }
  get frame() { return this.#frame; }
  get duration() { return this.#duration; }
  get paused() { return this.#paused; }
  get currentTime() {
    if (this.#paused) return this.#position;
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

  /** Sets the position a report gave; anything that is not a number is ignored. */
  report(seconds) {
    if (!Number.isFinite(seconds) || seconds < 0) return false;
    this.#position = seconds;
    this.#positionAt = performance.now();
    return true;
  }

  reportDuration(seconds) {
    if (Number.isFinite(seconds) && seconds > 0) this.#duration = seconds;
  }

  /** Sets whether it plays, and says so if that is news. */
  reportPaused(paused) {
    if (paused === this.#paused) return;
    this.report(this.currentTime);
    this.#paused = paused;
    this.emit(paused ? "pause" : "play");
  }

  destroy() {
    removeEventListener("message", this.#listener);
    this.unload();
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
