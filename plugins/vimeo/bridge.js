// Vimeo in a page, by the messages its embed player exchanges; no script of Vimeo's is loaded.
import { FramePlayer, notAllowed, withParams } from "/bridge/v1.js";

const EVENTS = [
  "play", "playing", "pause", "ended", "timeupdate", "seeked", "bufferstart", "bufferend", "playbackratechange",
  "volumechange", "error",
];

/** How long after the order to play the player has time to refuse it; one that says nothing by then is waited for no more. */
const START_PATIENCE_MS = 2500;

/** A seek that neither an answer nor `seeked` has ended by then is over. */
const SEEK_PATIENCE_MS = 10_000;

/** No player is slower, or faster. */
const MIN_SPEED = 0.05;
const MAX_SPEED = 16;

const isBetween = (number, least, most) => Number.isFinite(number) && number >= least && number <= most;

/** It goes to the nearest key frame. */
const NEAR_S = 1.5;

class Vimeo extends FramePlayer {
  #isReady = false;
  #starting = null;
  /** Setting the time of a video that has never played starts it: until it has, the place to go is kept here. */
  #hasPlayed = false;
  #startAt = null;
  /** Whether it should play, as far as was told or shown: a start that nobody wished for is taken back. */
  #wantsToPlay;
  /** How many of these calls have no answer yet: each gets one, in order. */
  #unanswered = { play: 0, setCurrentTime: 0 };
  /** Where it was sent and has not said `seeked` yet; whether it said so of the last place since it was sent there. */
  #sent = [];
  #hasSaidLast = false;
  #sentAt = -Infinity;
  #speed = 1;
  #muted = false;
  #volume = 1;

  constructor(stage, options) {
    super(stage, options);
    this.#wantsToPlay = Boolean(options.autoplay);
    const start = Math.floor(options.startAt || 0);
    const url = withParams(options.url, { ...options.params, autoplay: options.autoplay ? 1 : 0, playsinline: 1 });
    if (start && options.autoplay) this.aim(start, SEEK_PATIENCE_MS, { isQuiet: true, isAnew: true });
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
    this.#goToStart();
    this.#call("play");
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
    if (this.#hasPlayed || this.#wantsToPlay) {
      this.#go(seconds);
      return;
    }
    this.#startAt = seconds;
    this.arrive(seconds);
    this.emit("seeked");
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
    if (event === undefined) {
      if (method in this.#unanswered) this.#answered(method, value);
      return;
    }
    this.reportDuration(data?.duration);
    const wasSeeking = this.seeking;
    const known = event !== "seeked" && this.#at(data?.seconds);
    switch (event) {
      case "play":
        // A seek in a paused video may start it: nobody wished that.
        if (!this.#wantsToPlay && wasSeeking && this.#unanswered.play === 0) this.#say("pause");
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
        this.#seeked(data?.seconds);
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
        if (!isBetween(data?.playbackRate, MIN_SPEED, MAX_SPEED)) break;
        this.#speed = data.playbackRate;
        this.emit("ratechange");
        break;
      case "volumechange":
        if (isBetween(data?.volume, 0, 1)) this.#volume = data.volume;
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
    this.#goToStart();
  }

  /** To where it was sent before it could go. */
  #goToStart() {
    if (this.#startAt === null) return;
    const seconds = this.#startAt;
    this.#startAt = null;
    this.#go(seconds, { isQuiet: true });
  }

  #go(seconds, { isQuiet = false } = {}) {
    this.aim(seconds, SEEK_PATIENCE_MS, { isQuiet });
    this.#sent.push(seconds);
    this.#hasSaidLast = false;
    this.#sentAt = performance.now();
    this.#call("setCurrentTime", seconds);
  }

  /** A position that came with an event. Answers whether it is believed. */
  #at(seconds) {
    if (this.#startAt !== null) return false;
    if (!this.seeking || this.#unanswered.setCurrentTime === 0) return this.report(seconds);
    // Of before it got there, whatever it says: its answer ends the seek.
    return performance.now() - this.#sentAt > SEEK_PATIENCE_MS && this.arrive(seconds);
  }

  /** A call was answered, or failed: then `value` is missing. */
  #answered(method, value) {
    this.#unanswered[method] = Math.max(0, this.#unanswered[method] - 1);
    if (method !== "setCurrentTime" || this.#unanswered.setCurrentTime > 0) return;
    this.#sent = this.#hasSaidLast ? [] : this.#sent.slice(-1);
    if (this.seeking) this.arrive(Number.isFinite(value) ? value : this.currentTime);
  }

  /** Whether somebody sought: not if it was sent there. Of several places it was sent to it may say the last only. */
  #seeked(seconds) {
    if (!Number.isFinite(seconds)) return;
    const isHere = (place) => Math.abs(place - seconds) < NEAR_S;
    const found = this.#sent.findIndex(isHere);
    if (found < 0) {
      if (!this.seeking && this.#at(seconds)) this.emit("seeked");
      return;
    }
    this.#hasSaidLast ||= isHere(this.#sent.at(-1));
    this.#sent.splice(0, found + 1);
    if (this.#sent.length === 0 && this.seeking) this.arrive(seconds);
  }

  #failed(error) {
    if (error?.method in this.#unanswered) this.#answered(error.method);
    if (error?.name === "NotAllowedError") {
      this.#wantsToPlay = false;
      this.#starting?.reject(notAllowed());
      this.#starting = null;
      this.emit("blocked");
      return;
    }
    // A speed that its owner does not allow, or a place that is none, is no failure of the video.
    if (error?.method === "setPlaybackRate" || error?.method === "setCurrentTime") return;
    this.emit("error", error?.message || "Vimeo cannot play this video here");
  }

  #ready() {
    if (this.#isReady) return;
    this.#isReady = true;
    for (const name of EVENTS) this.#say("addEventListener", name);
    this.emit("ready");
  }

  #call(method, value) {
    this.#unanswered[method] += 1;
    this.#say(method, value);
  }

  #say(method, value) {
    this.post(value === undefined ? { method } : { method, value });
  }
}

export default function mount(stage, options) {
  return new Vimeo(stage, options);
}
