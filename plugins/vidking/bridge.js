// Vidking in a page. Its frame reports what it does and takes no commands, so it is moved by loading it anew: at a
// position (`progress`, in whole seconds), playing or not (`autoPlay`).
import { FramePlayer, withParams } from "/bridge/v1.js";

/** A jump larger than this between two reports was a seek. */
const JUMP_S = 3;

/** A load that takes longer than this is not waited for; what it took is not what the next will take. */
const MAX_LATENCY_S = 60;

/** From a load to its first picture, as measured last: every player of this page aims so far ahead. */
let latencyS = 0;

class Vidking extends FramePlayer {
  #loadedAt = 0;
  #isReady = false;
  #isStarting = false;
  /** Whether the load under way is a seek's: then its end is said. */
  #isSought = false;

  constructor(stage, options) {
    super(stage, options);
    if (options.autoplay || options.interactive) this.#mount(options.autoplay, options.startAt || 0);
    else this.#rest();
  }

  get seeking() { return this.#isStarting; }

  async play() {
    this.#mount(true, this.currentTime);
  }

  pause() {
    const at = this.currentTime;
    this.reportPaused(true);
    // The host needs the player to press play in; a viewer gets a still picture.
    if (this.options.interactive) this.#mount(false, at);
    else this.#rest(at);
  }

  seek(seconds) {
    this.#isSought = true;
    if (this.frame) this.#mount(!this.paused, seconds);
    else this.#rest(seconds);
  }

  receive({ type, data }) {
    if (type !== "PLAYER_EVENT" || data === null || typeof data !== "object") return;
    const isJump = this.distanceTo(data.currentTime) > JUMP_S;
    this.reportDuration(data.duration);
    // While it loads it reports pauses and positions that nobody asked for; its first picture where it was sent ends that.
    if (this.#isStarting) {
      if (data.event === "timeupdate" && this.report(data.currentTime)) this.#started();
      return;
    }
    const known = this.report(data.currentTime);
    switch (data.event) {
      case "play":
        this.reportPaused(false);
        break;
      case "pause":
        this.reportPaused(true);
        break;
      case "seeked":
        this.emit("seeked");
        break;
      case "ended":
        this.reportPaused(true);
        this.emit("ended");
        break;
      case "timeupdate":
        if (!known) break;
        if (isJump) this.emit("seeked");
        this.emit("timeupdate");
        break;
    }
  }

  #started() {
    this.#isStarting = false;
    const tookS = (performance.now() - this.#loadedAt) / 1000;
    if (tookS < MAX_LATENCY_S) latencyS = tookS;
    this.#sought();
    this.emit("timeupdate");
  }

  /** It is where it was sent: said of a seek, not of a load that only made it play or pause. */
  #sought() {
    if (!this.#isSought) return;
    this.#isSought = false;
    this.emit("seeked");
  }

  #mount(autoplay, startAt) {
    const { url, params } = this.options;
    // By the time it shows its first picture the room has moved on by as long as that took last time.
    const progress = Math.max(0, Math.floor(startAt + (autoplay ? latencyS : 0)));
    this.#loadedAt = performance.now();
    this.load(withParams(url, { ...params, autoPlay: autoplay, progress: progress || undefined }), () => this.#ready());
    this.reportPaused(!autoplay);
    this.#isStarting = autoplay;
    if (autoplay) {
      this.aim(progress, MAX_LATENCY_S * 1000, { isQuiet: true, isAnew: true });
    } else {
      this.#isAt(startAt);
    }
  }

  /** No frame, but the room's position is kept. */
  #rest(at = this.currentTime) {
    this.unload();
    this.#isStarting = false;
    this.#isAt(at);
    queueMicrotask(() => this.#ready());
  }

  #isAt(seconds) {
    this.arrive(seconds);
    this.#sought();
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
