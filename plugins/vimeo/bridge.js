// Vimeo in a page, by the messages its embed player exchanges; no script of Vimeo's is loaded.
import { FramePlayer, notAllowed, withParams } from "/bridge/v1.js";

const EVENTS = ["play", "pause", "ended", "timeupdate", "seeked", "bufferstart", "error"];

/** How long after the order to play the player has time to refuse it. */
const START_PATIENCE_MS = 2500;

class Vimeo extends FramePlayer {
  #isReady = false;
  #starting = null;

  constructor(stage, options) {
    super(stage, options);
    // Setting the time before playback has started starts it, so where to start is part of the address.
    const start = Math.floor(options.startAt || 0);
    const url = withParams(options.url, { ...options.params, autoplay: options.autoplay ? 1 : 0, playsinline: 1 });
    this.load(start ? `${url}#t=${start}s` : url, () => this.#say("ping"));
  }

  play() {
    this.#say("play");
    return new Promise((resolve, reject) => {
      this.#starting?.resolve();
      this.#starting = { resolve, reject };
      setTimeout(resolve, START_PATIENCE_MS);
    });
  }

  pause() {
    this.#say("pause");
  }

  seek(seconds) {
    this.report(seconds);
    this.#say("setCurrentTime", seconds);
  }

  destroy() {
    this.#starting?.resolve();
    super.destroy();
  }

  receive({ event, method, value, data }) {
    if (event === "ready" || method === "ping") {
      this.#ready();
      return;
    }
    if (method === "getCurrentTime") {
      if (this.report(value)) this.emit("timeupdate");
      return;
    }
    this.report(data?.seconds);
    this.reportDuration(data?.duration);
    switch (event) {
      case "play":
        this.#starting?.resolve();
        this.#starting = null;
        this.reportPaused(false);
        break;
      case "pause":
        this.reportPaused(true);
        break;
      case "timeupdate":
        this.emit("timeupdate");
        break;
      case "seeked":
        this.emit("seeked");
        break;
      case "bufferstart":
        this.emit("waiting");
        break;
      case "ended":
        this.reportPaused(true);
        this.emit("ended");
        break;
      case "error":
        this.#failed(data);
        break;
    }
  }

  #failed(error) {
    if (error?.method === "play" && error.name === "NotAllowedError") {
      this.#starting?.reject(notAllowed());
      this.#starting = null;
      return;
    }
    this.emit("error", error?.message || "Vimeo cannot play this video here");
  }

  #ready() {
    if (this.#isReady) return;
    this.#isReady = true;
    for (const name of EVENTS) this.#say("addEventListener", name);
    this.emit("ready");
  }

  #say(method, value) {
    this.post(value === undefined ? { method } : { method, value });
  }
}

export default function mount(stage, options) {
  return new Vimeo(stage, options);
}
