// A video file in a page: the browser's own <video>, which is what every other bridge imitates.
import { Player } from "/bridge/v1.js";

const ERRORS = {
  1: "loading was stopped",
  2: "the connection to the file was lost",
  3: "the file is damaged, or this browser cannot decode it",
  4: "there is no such file, or this browser cannot play its format",
};

/** After it ran dry, so much has to be there again before it counts as going on: less would only run dry again. */
const ENOUGH_S = 2;

/** Where this server is, whatever a proxy has put before it: this file is at `api/v1/providers/ID/bridge.js` there. */
const SERVER = new URL("../../../../", import.meta.url);

/** A file that could not be read is asked for again after this, and then after twice as long. */
const RETRY_MS = 2000;
const MAX_RETRY_MS = 30_000;

class Video extends Player {
  #video = document.createElement("video");
  #url;
  #isDry = false;
  /** It failed, and has not been loaded again: where it was, or was sent meanwhile. */
  #brokenAt = null;
  #wasSent = false;
  /** Sent somewhere, and has not said yet that it is there. */
  #isSought = false;
  #isMending = false;
  #retryMs = RETRY_MS;
  #retry = null;

  constructor(stage, { url }) {
    super();
    this.#url = url;
    const video = this.#video;
    video.controls = true;
    // Of the page's own button: it keeps the whole screen when the next film comes.
    video.controlsList?.add("nofullscreen");
    video.playsInline = true;
    video.preload = "auto";
    for (const type of ["play", "timeupdate", "ended", "ratechange", "volumechange"]) {
      video.addEventListener(type, () => this.emit(type));
    }
    video.addEventListener("pause", () => {
      // At its end, and when it fails, it pauses by itself: that is `ended`, and `error`.
      if (!video.ended && !video.error) this.emit("pause");
    });
    video.addEventListener("seeked", () => {
      // Of one that was overtaken on its way: the next one's is still to come.
      if (video.seeking) return;
      this.#isSought = false;
      if (this.#isMending) this.#isMending = false;
      else this.emit("seeked");
    });
    video.addEventListener("waiting", () => {
      // A seek waits too; that is `seeking`.
      if (video.seeking) return;
      this.#isDry = true;
      this.emit("waiting");
    });
    video.addEventListener("error", () => {
      this.#brokenAt ??= video.currentTime;
      this.#wasSent ||= this.#isSought;
      this.emit("error", ERRORS[video.error?.code] ?? "the file cannot be played");
      // The line may be back later, and the file may come.
      this.#retry = setTimeout(() => this.#load(), this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
    });
    video.addEventListener("loadedmetadata", () => {
      this.#retryMs = RETRY_MS;
      if (this.#brokenAt !== null) this.#mend();
      this.emit("ready");
    });
    // No autoplay: the page plays when it is ready, for only then can it hear that the browser wants a click.
    stage.append(video);
    this.#load();
    this.#offerTextTracks();
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
    this.#video.append(...tracks.map(({ url, lang }) => {
      const track = document.createElement("track");
      Object.assign(track, { kind: "subtitles", label: labelOf(lang), srclang: lang ?? "", src: url });
      return track;
    }));
  }

  #load() {
    this.#video.src = this.#url;
  }

  /** Back to where it was, which is nobody's seek; or to where it was sent meanwhile. */
  #mend() {
    const at = this.#brokenAt;
    this.#isMending = !this.#wasSent;
    this.#brokenAt = null;
    this.#wasSent = false;
    this.#video.currentTime = at;
  }

  get currentTime() { return this.#brokenAt ?? this.#video.currentTime; }
  get duration() { return this.#video.duration; }
  /** Of a stream, the end of what can be sought, less what it had better have in hand. */
  get liveEdge() {
    const { duration, seekable } = this.#video;
    return duration === Infinity && seekable.length > 0 ? Math.max(0, seekable.end(seekable.length - 1) - ENOUGH_S) : NaN;
  }
  get liveStart() {
    const { duration, seekable } = this.#video;
    return duration === Infinity && seekable.length > 0 ? seekable.start(0) : NaN;
  }
  get paused() { return this.#brokenAt !== null || this.#video.paused; }
  get seeking() { return this.#video.seeking; }
  get playbackRate() { return this.#video.playbackRate; }
  set playbackRate(rate) { this.#video.playbackRate = rate; }
  get muted() { return this.#video.muted; }
  set muted(muted) { this.#video.muted = muted; }
  get volume() { return this.#video.volume; }
  set volume(volume) { this.#video.volume = volume; }

  get stalled() {
    const { readyState, ended, error } = this.#video;
    // One that failed has nothing to show until it has been loaded again.
    if (error || this.#brokenAt !== null) return true;
    if (ended) this.#isDry = false;
    if (this.#isDry) {
      const { HAVE_FUTURE_DATA, HAVE_ENOUGH_DATA } = HTMLMediaElement;
      // What is buffered is an estimate: without a next picture it is dry, however much there seems to be.
      this.#isDry = readyState < HAVE_FUTURE_DATA || (readyState < HAVE_ENOUGH_DATA && this.#ahead() < ENOUGH_S);
    }
    return this.#isDry;
  }

  async play() {
    // What it is told while it is broken it does when it has been loaded again.
    if (this.#brokenAt === null) await this.#video.play();
  }

  pause() { this.#video.pause(); }

  seek(seconds) {
    if (this.#brokenAt === null) {
      // On its way back to where it was it may be sent elsewhere: then it is this seek that ends.
      this.#isMending = false;
      this.#isSought = true;
      this.#video.currentTime = seconds;
    } else {
      this.#brokenAt = seconds;
      this.#wasSent = true;
    }
  }

  destroy() {
    clearTimeout(this.#retry);
    this.#video.pause();
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#video.remove();
  }

  /** How much is there to be shown from here, in seconds; all of it counts as enough. */
  #ahead() {
    const { buffered, currentTime, duration } = this.#video;
    for (let n = 0; n < buffered.length; n += 1) {
      if (buffered.start(n) <= currentTime + 0.1 && currentTime < buffered.end(n)) {
        const end = buffered.end(n);
        return end >= duration - 0.5 ? Infinity : end - currentTime;
      }
    }
    return 0;
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
  return new Video(stage, options);
}
