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

class Video extends Player {
  #video = document.createElement("video");
  #isDry = false;

  constructor(stage, { url }) {
    super();
    const video = this.#video;
    video.controls = true;
    // Of the page's own button: it keeps the whole screen when the next film comes.
    video.controlsList?.add("nofullscreen");
    video.playsInline = true;
    video.preload = "auto";
    for (const type of ["play", "pause", "timeupdate", "ended", "ratechange", "volumechange"]) {
      video.addEventListener(type, () => this.emit(type));
    }
    video.addEventListener("seeked", () => {
      // Of one that was overtaken on its way: the next one's is still to come.
      if (!video.seeking) this.emit("seeked");
    });
    video.addEventListener("waiting", () => {
      // A seek waits too; that is `seeking`.
      if (video.seeking) return;
      this.#isDry = true;
      this.emit("waiting");
    });
    video.addEventListener("error", () => this.emit("error", ERRORS[video.error?.code] ?? "the file cannot be played"));
    video.addEventListener("loadedmetadata", () => this.emit("ready"), { once: true });
    video.src = url;
    // No autoplay: the page plays when it is ready, for only then can it hear that the browser wants a click.
    stage.append(video);
  }

  get currentTime() { return this.#video.currentTime; }
  get duration() { return this.#video.duration; }
  get paused() { return this.#video.paused; }
  get seeking() { return this.#video.seeking; }
  get playbackRate() { return this.#video.playbackRate; }
  set playbackRate(rate) { this.#video.playbackRate = rate; }
  get muted() { return this.#video.muted; }
  set muted(muted) { this.#video.muted = muted; }
  get volume() { return this.#video.volume; }
  set volume(volume) { this.#video.volume = volume; }

  get stalled() {
    const { readyState, ended, error } = this.#video;
    if (ended || error) this.#isDry = false;
    if (this.#isDry) {
      const { HAVE_FUTURE_DATA, HAVE_ENOUGH_DATA } = HTMLMediaElement;
      // What is buffered is an estimate: without a next picture it is dry, however much there seems to be.
      this.#isDry = readyState < HAVE_FUTURE_DATA || (readyState < HAVE_ENOUGH_DATA && this.#ahead() < ENOUGH_S);
    }
    return this.#isDry;
  }

  play() { return this.#video.play(); }
  pause() { this.#video.pause(); }
  seek(seconds) { this.#video.currentTime = seconds; }

  destroy() {
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

export default function mount(stage, options) {
  return new Video(stage, options);
}
