// A video file in a page: the browser's own <video>, which is what every other bridge imitates.
import { Player } from "/bridge/v1.js";

const ERRORS = {
  1: "loading was stopped",
  2: "the connection to the file was lost",
  3: "the file is damaged, or this browser cannot decode it",
  4: "there is no such file, or this browser cannot play its format",
};

class Video extends Player {
  #video = document.createElement("video");

  constructor(stage, { url, startAt }) {
    super();
    const video = this.#video;
    video.controls = true;
    video.playsInline = true;
    video.preload = "auto";
    for (const type of ["play", "pause", "seeked", "timeupdate", "waiting", "ended"]) {
      video.addEventListener(type, () => this.emit(type));
    }
    video.addEventListener("error", () => this.emit("error", ERRORS[video.error?.code] ?? "the file cannot be played"));
    video.addEventListener("loadedmetadata", () => {
      if (startAt > 0) video.currentTime = Math.min(startAt, video.duration || startAt);
      this.emit("ready");
    }, { once: true });
    video.src = url;
    // No autoplay: the page plays when it is ready, for only then can it hear that the browser wants a click.
    stage.append(video);
  }

  get currentTime() { return this.#video.currentTime; }
  get duration() { return this.#video.duration; }
  get paused() { return this.#video.paused; }
  get playbackRate() { return this.#video.playbackRate; }
  set playbackRate(rate) { this.#video.playbackRate = rate; }

  play() { return this.#video.play(); }
  pause() { this.#video.pause(); }
  seek(seconds) { this.#video.currentTime = seconds; }

  destroy() {
    this.#video.pause();
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#video.remove();
  }
}

export default function mount(stage, options) {
  return new Video(stage, options);
}
