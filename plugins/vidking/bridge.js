// Vidking in a page. Its frame reports what it does and takes no commands, so it is moved by loading it anew: at a
// position (`progress`, in whole seconds), playing or not (`autoPlay`).
import { FramePlayer, withParams } from "/bridge/v1.js";

/** A jump larger than this between two reports was a seek. */
const JUMP_S = 3;

class Vidking extends FramePlayer {
  #loadedAt = 0;
  #latency = 0;
  #isReady = false;
  #isStarting = false;

  constructor(stage, options) {
    super(stage, options);
    if (options.autoplay || options.interactive) this.#mount(options.autoplay, options.startAt);
    else this.#rest();
  }

  async play() {
    this.#mount(true, this.currentTime);
  }

  pause() {
    const at = this.currentTime;
    this.reportPaused(true);
    this.report(at);
    // The host needs the player to press play in; a viewer gets a still picture.
    if (this.options.interactive) this.#mount(false, at);
    else this.#rest();
  }

  seek(seconds) {
    this.report(seconds);
    if (this.frame) this.#mount(!this.paused, seconds);
    this.emit("seeked");
  }

  receive({ type, data }) {
    if (type !== "PLAYER_EVENT" || data === null || typeof data !== "object") return;
    const before = this.currentTime;
    this.reportDuration(data.duration);
    const known = this.report(data.currentTime);
    switch (data.event) {
      case "play":
        this.reportPaused(false);
        break;
      case "pause":
        // While it loads it reports a pause that nobody asked for.
        if (!this.#isStarting) this.reportPaused(true);
        break;
      case "seeked":
        if (!this.#isStarting) this.emit("seeked");
        break;
      case "ended":
        this.reportPaused(true);
        this.emit("ended");
        break;
      case "timeupdate":
        if (!known) break;
        if (this.#isStarting) {
          this.#isStarting = false;
          this.#latency = Math.min((performance.now() - this.#loadedAt) / 1000, 10);
        } else if (Math.abs(this.currentTime - before) > JUMP_S) {
          this.emit("seeked");
        }
        this.emit("timeupdate");
        break;
    }
  }

  #mount(autoplay, startAt) {
    const { url, params } = this.options;
    // By the time it shows its first picture the room has moved on by as long as that took last time.
    const progress = Math.max(0, Math.floor(startAt + (autoplay ? this.#latency : 0)));
    this.#loadedAt = performance.now();
    this.#isStarting = autoplay;
    this.load(withParams(url, { ...params, autoPlay: autoplay, progress: progress || undefined }), () => this.#ready());
    this.report(startAt);
    this.reportPaused(!autoplay);
  }

  /** No frame, but the room's position is kept. */
  #rest() {
    this.unload();
    queueMicrotask(() => this.#ready());
  }

  /** The player itself never says that it is ready: its frame having loaded is as much as can be known. */
  #ready() {
    if (this.#isReady) return;
    this.#isReady = true;
    this.emit("ready");
  }
}

export default function mount(stage, options) {
  return new Vidking(stage, options);
}
