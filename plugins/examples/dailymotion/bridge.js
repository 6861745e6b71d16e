// Dailymotion in a page, by the messages that its public SDK (github.com/dailymotion/dailymotion-sdk-js) exchanges with
// the player: orders are JSON, `{ command, parameters }`; what the player says is written like a query, `event=timeupdate&
// time=12.3`, or as JSON. Its present documentation knows a script only, which a page of StreamIt does not load.
import { FramePlayer, withParams } from "/bridge/v1.js";

class Dailymotion extends FramePlayer {
  #isReady = false;
  #hasBegun = false;
  /** Sought before its video has begun, it may do anything: until then the place is kept here. */
  #startAt = null;
  /** An advertisement is shown. It takes no orders meanwhile, and what it says is not about the video. */
  #isAdvert = false;
  #volume = 1;
  #muted = false;

  constructor(stage, options) {
    super(stage, options);
    const start = Math.floor(options.startAt || 0);
    if (start && options.autoplay) this.aim(start, undefined, { isQuiet: true, isAnew: true });
    this.load(withParams(options.url, {
      ...options.params,
      api: "postMessage",
      origin: location.origin,
      id: "streamit",
      autoplay: options.autoplay ? "true" : "false",
      start: start || undefined,
    }));
  }

  get volume() { return this.#volume; }
  set volume(volume) { this.#tell("volume", volume); }
  get muted() { return this.#muted; }
  set muted(muted) { this.#tell("muted", muted); }

  async play() { this.#tell("play"); }

  pause() { this.#tell("pause"); }

  seek(seconds) {
    if (this.#hasBegun) {
      this.aim(seconds);
      if (!this.#isAdvert) this.#tell("seek", seconds);
      return;
    }
    this.#startAt = seconds;
    this.arrive(seconds);
    this.emit("seeked");
  }

  parseText(text) {
    return text.startsWith("{") ? super.parseText(text) : Object.fromEntries(new URLSearchParams(text));
  }

  receive(message) {
    switch (message.event) {
      case "apiready":
        // It may say so again.
        if (!this.#isReady) this.emit("ready");
        this.#isReady = true;
        break;
      case "ad_start":
        this.#isAdvert = true;
        this.reportStalled(true);
        break;
      case "ad_end":
        this.#isAdvert = false;
        this.reportStalled(false);
        if (this.seeking) this.#tell("seek", this.currentTime);
        break;
      case "error":
        this.emit("error", [message.message, message.title].find((words) => typeof words === "string" && words) ?? "Dailymotion cannot play this video");
        break;
      case "volumechange":
        this.#isAsLoud(parseFloat(message.volume), String(message.muted) === "true");
        break;
      default:
        if (!this.#isAdvert) this.#video(message);
    }
  }

  /** What it says about its video. */
  #video({ event, time, duration }) {
    switch (event) {
      case "play":
        this.reportPaused(false);
        break;
      case "playing":
      case "video_start":
        this.reportPaused(false);
        this.reportStalled(false);
        this.#begins();
        break;
      case "pause":
        this.reportStalled(false);
        this.reportPaused(true);
        break;
      case "video_end":
        this.reportPaused(true);
        this.emit("ended");
        break;
      case "waiting":
        this.reportStalled(true);
        break;
      case "timeupdate":
        // Before the video has begun it says 0, wherever it will begin.
        if (this.#hasBegun && this.report(parseFloat(time))) this.emit("timeupdate");
        break;
      case "seeked":
        if (this.#hasBegun) this.reportSeeked(parseFloat(time));
        break;
      case "durationchange":
        this.reportDuration(parseFloat(duration));
        break;
    }
  }

  #begins() {
    this.#hasBegun = true;
    if (this.#startAt === null) return;
    const seconds = this.#startAt;
    this.#startAt = null;
    this.aim(seconds, undefined, { isQuiet: true, isAnew: true });
    this.#tell("seek", seconds);
  }

  #isAsLoud(volume, muted) {
    if (!(volume >= 0 && volume <= 1)) return;
    this.#volume = volume;
    this.#muted = muted;
    this.emit("volumechange");
  }

  #tell(command, ...parameters) {
    this.post(JSON.stringify({ command, parameters }));
  }
}

export default function mount(stage, options) {
  return new Dailymotion(stage, options);
}
