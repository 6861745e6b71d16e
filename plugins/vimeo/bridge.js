// Vimeo in a page, by the messages its embed player exchanges; no script of Vimeo's is loaded.
import { FramePlayer, notAllowed, withParams } from "/bridge/v1.js";

const EVENTS = [
  "play", "playing", "pause", "ended", "timeupdate", "seeked", "bufferstart", "bufferend", "playbackratechange",
  "volumechange", "error",
];

/** How long after the order to play the player has time to refuse it; one that says nothing by then is waited for no more. */
const START_PATIENCE_MS = 2500;

class Vimeo extends FramePlayer {
  #isReady = false;
  #starting = null;
  /** Setting the time of a video that has never played starts it: until it has, the place to go is kept here. */
  #hasPlayed = false;
  #startAt = null;
  /** Whether it should play, as far as was told or shown: a start that nobody wished for is taken back. */
  #wantsToPlay;
  #speed = 1;
  #muted = false;
  #volume = 1;

  constructor(stage, options) {
    super(stage, options);
    this.#wantsToPlay = Boolean(options.autoplay);
    const start = Math.floor(options.startAt || 0);
    const url = withParams(options.url, { ...options.params, autoplay: options.autoplay ? 1 : 0, playsinline: 1 });
    this.load(start ? `${url}#t=${start}s` : url, () => this.#say("ping"));
  }

  // Only paying owners' videos take another speed, and only some values.
  get rate() { return "none"; }
  get playbackRate() { return this.#speed; }
  set playbackRate(speed) { this.#say("setPlaybackRate", speed); }
  get muted() { return this.#muted; }
  set muted(muted) { this.#say("setMuted", muted); }
  get volume() { return this.#volume; }
  set volume(volume) { this.#say("setVolume", volume); }

  play() {
    this.#wantsToPlay = true;
    this.#say("play");
    if (this.#startAt !== null) this.#say("setCurrentTime", this.#startAt);
    this.#startAt = null;
    return new Promise((resolve, reject) => {
      this.#starting?.resolve();
      this.#starting = { resolve, reject };
      setTimeout(resolve, START_PATIENCE_MS);
    });
  }

  pause() {
    this.#wantsToPlay = false;
    this.#say("pause");
  }

  seek(seconds) {
    if (!this.#hasPlayed && !this.#wantsToPlay) {
      this.#startAt = seconds;
      this.report(seconds);
      this.emit("seeked");
      return;
    }
    this.aim(seconds);
    this.#say("setCurrentTime", seconds);
  }

  destroy() {
    this.#starting?.resolve();
    super.destroy();
  }

  receive({ event, method, data }) {
    if (event === "ready" || method === "ping") {
      this.#ready();
      return;
    }
    if (event === undefined) return;
    this.reportDuration(data?.duration);
    const wasSeeking = this.seeking;
    const known = this.#startAt === null && this.report(data?.seconds);
    switch (event) {
      case "play":
        // A seek in a paused video may start it: nobody wished that.
        if (!this.#wantsToPlay && wasSeeking) this.#say("pause");
        else this.#plays();
        break;
      case "playing":
        this.reportStalled(false);
        if (this.#wantsToPlay) this.#plays();
        break;
      case "pause":
        this.#wantsToPlay = false;
        this.reportPaused(true);
        break;
      case "timeupdate":
        this.#hasPlayed ||= !this.paused;
        if (known) this.emit("timeupdate");
        break;
      case "seeked":
        // Ours was said when its report came.
        if (known && !wasSeeking) this.emit("seeked");
        break;
      case "bufferstart":
        this.reportStalled(true);
        break;
      case "bufferend":
        this.reportStalled(false);
        break;
      case "ended":
        this.reportStalled(false);
        this.#wantsToPlay = false;
        this.reportPaused(true);
        this.emit("ended");
        break;
      case "playbackratechange":
        if (Number.isFinite(data?.playbackRate)) this.#speed = data.playbackRate;
        this.emit("ratechange");
        break;
      case "volumechange":
        if (Number.isFinite(data?.volume)) this.#volume = data.volume;
        if (typeof data?.muted === "boolean") this.#muted = data.muted;
        this.emit("volumechange");
        break;
      case "error":
        this.#failed(data);
        break;
    }
  }

  #plays() {
    this.#hasPlayed = true;
    this.#wantsToPlay = true;
    this.#starting?.resolve();
    this.#starting = null;
    this.reportPaused(false);
  }

  #failed(error) {
    if (error?.name === "NotAllowedError" && this.#starting) {
      this.#wantsToPlay = false;
      this.#starting.reject(notAllowed());
      this.#starting = null;
      return;
    }
    // A speed that its owner does not allow is no failure of the video.
    if (error?.method === "setPlaybackRate") return;
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
