// A Jellyfin server's file in a page: the browser's own <video>, which has nearly every part of a player already.
import { Player } from "/bridge/v1.js";

const ERRORS = {
  2: "the connection to the server was lost",
  3: "the file is damaged, or this browser cannot decode it",
  4: "the server does not give this film, or this browser cannot play its format",
};

class Jellyfin extends Player {
  #video = document.createElement("video");
  /** It has run out of data, and has not gone on since. */
  #isDry = false;

  constructor(stage, { url }) {
    super();
    const video = this.#video;
    video.controls = true;
    video.playsInline = true;
    video.preload = "auto";
    video.addEventListener("loadedmetadata", () => this.emit("ready"));
    for (const type of ["play", "timeupdate", "ended", "ratechange", "volumechange"]) {
      video.addEventListener(type, () => this.emit(type));
    }
    // At its end, and when it fails, it pauses by itself; a seek that was overtaken on its way has not ended.
    video.addEventListener("pause", () => { if (!video.ended && !video.error) this.emit("pause"); });
    video.addEventListener("seeked", () => { if (!video.seeking) this.emit("seeked"); });
    video.addEventListener("waiting", () => {
      if (video.seeking) return;
      this.#isDry = true;
      this.emit("waiting");
    });
    for (const type of ["playing", "ended"]) video.addEventListener(type, () => { this.#isDry = false; });
    // The browser's own words have the address in them, and so the key.
    video.addEventListener("error", () => this.emit("error", ERRORS[video.error?.code] ?? "the film cannot be played"));
    video.src = url;
    stage.append(video);
  }

  get currentTime() { return this.#video.currentTime; }
  get duration() { return this.#video.duration; }
  get paused() { return this.#video.paused; }
  get seeking() { return this.#video.seeking; }
  get stalled() { return this.#video.error !== null || (this.#isDry && this.#video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA); }
  get playbackRate() { return this.#video.playbackRate; }
  set playbackRate(rate) { this.#video.playbackRate = rate; }
  get muted() { return this.#video.muted; }
  set muted(muted) { this.#video.muted = muted; }
  get volume() { return this.#video.volume; }
  set volume(volume) { this.#video.volume = volume; }

  play() { return this.#video.play(); }
  pause() { this.#video.pause(); }
  seek(seconds) { this.#video.currentTime = seconds; }

  destroy() {
    this.#video.pause();
    // Without this a browser goes on loading what nobody sees.
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#video.remove();
  }
}

export default function mount(stage, options) {
  return new Jellyfin(stage, options);
}
