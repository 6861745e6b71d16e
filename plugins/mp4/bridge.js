// A video file in a page: the browser's own <video>, which is what every other bridge imitates.
import { Backoff, VideoPlayer } from "/bridge/v1.js";

const ERRORS = {
  1: "loading was stopped",
  2: "the connection to the file was lost",
  3: "the file is damaged, or this browser cannot decode it",
  4: "there is no such file, or this browser cannot play its format",
};

/** At the end of a stream that still grows, so much had better be in hand. */
const BEHIND_EDGE_S = 2;

/** Where this server is, whatever a proxy has put before it: this file is at `api/v1/providers/ID/bridge.js` there. */
const SERVER = new URL("../../../../", import.meta.url);

/** A file that could not be read is asked for again after this, and then after twice as long. */
const RETRY_MS = 2000;
const MAX_RETRY_MS = 30_000;

class VideoFile extends VideoPlayer {
  #url;
  /** It failed, and has not been loaded again: where it was, or was sent meanwhile. */
  #brokenAt = null;
  #wasSent = false;
  /** Sent somewhere, and has not said yet that it is there. */
  #isSought = false;
  #isMending = false;
  #backoff = new Backoff(RETRY_MS, MAX_RETRY_MS);
  #retry = null;

  constructor(stage, { url }) {
    super();
    this.#url = url;
    const { video } = this;
    video.addEventListener("error", () => {
      this.#brokenAt ??= video.currentTime;
      this.#wasSent ||= this.#isSought;
      this.emit("error", ERRORS[video.error?.code] ?? "the file cannot be played");
      // The line may be back later, and the file may come.
      this.#retry = setTimeout(() => this.#load(), this.#backoff.next());
    });
    video.addEventListener("loadedmetadata", () => {
      this.#backoff.reset();
      if (this.#brokenAt !== null) this.#mend();
      this.emit("ready");
    });
    stage.append(video);
    this.#load();
    this.#offerTextTracks();
  }

  hear(type) {
    if (type === "seeked" && !this.video.seeking) {
      this.#isSought = false;
      const isNobodys = this.#isMending;
      this.#isMending = false;
      if (isNobodys) return;
    }
    super.hear(type);
  }

  /** Text tracks that lie beside a file on this server: in the browser's own menu, and none is chosen for anybody. */
  async #offerTextTracks() {
    const { origin, pathname } = new URL(this.#url, SERVER);
    const folder = `${SERVER.pathname}media/`;
    if (origin !== SERVER.origin || !pathname.startsWith(folder)) return;
    let tracks = [];
    try {
      const question = new URLSearchParams({ file: decodeURIComponent(pathname.slice(folder.length)) });
      const answer = await fetch(new URL(`api/v1/media/tracks?${question}`, SERVER));
      if (answer.ok) ({ tracks } = await answer.json());
    } catch {
      // A video without its text tracks is one all the same.
    }
    this.video.append(...tracks.map(({ url, lang }) => {
      const track = document.createElement("track");
      Object.assign(track, { kind: "subtitles", label: labelOf(lang), srclang: lang ?? "", src: url });
      return track;
    }));
  }

  #load() {
    this.video.src = this.#url;
  }

  /** Back to where it was, which is nobody's seek; or to where it was sent meanwhile. */
  #mend() {
    const at = this.#brokenAt;
    this.#isMending = !this.#wasSent;
    this.#brokenAt = null;
    this.#wasSent = false;
    this.video.currentTime = at;
  }

  get currentTime() { return this.#brokenAt ?? super.currentTime; }
  /** Of a stream, the end of what can be sought, less what it had better have in hand. */
  get liveEdge() {
    const { duration, seekable } = this.video;
    return duration === Infinity && seekable.length > 0 ? Math.max(0, seekable.end(seekable.length - 1) - BEHIND_EDGE_S) : NaN;
  }
  get liveStart() {
    const { duration, seekable } = this.video;
    return duration === Infinity && seekable.length > 0 ? seekable.start(0) : NaN;
  }
  get paused() { return this.#brokenAt !== null || super.paused; }
  /** One that failed has nothing to show until it has been loaded again. */
  get stalled() { return this.#brokenAt !== null || super.stalled; }

  async play() {
    // What it is told while it is broken it does when it has been loaded again.
    if (this.#brokenAt === null) await super.play();
  }

  seek(seconds) {
    if (this.#brokenAt === null) {
      // On its way back to where it was it may be sent elsewhere: then it is this seek that ends.
      this.#isMending = false;
      this.#isSought = true;
      super.seek(seconds);
    } else {
      this.#brokenAt = seconds;
      this.#wasSent = true;
    }
  }

  destroy() {
    clearTimeout(this.#retry);
    super.destroy();
  }
}

/** The name of a language, for whoever is here. */
function labelOf(lang) {
  if (!lang) return "Subtitles";
  try {
    return new Intl.DisplayNames([navigator.language], { type: "language" }).of(lang);
  } catch {
    return lang;
  }
}

export default function mount(stage, options) {
  return new VideoFile(stage, options);
}
