// YouTube in a page, by the messages its embed player exchanges; no script of YouTube's is loaded.
import { FramePlayer, notAllowed, withParams } from "/bridge/v1.js";

const STATE = { ended: 0, playing: 1, paused: 2, buffering: 3 };

/** The player does not say when somebody seeks: a jump larger than this between two reports was one. */
const JUMP_S = 1;

/** Until it answers, it is told again that somebody listens. */
const LISTENING_EVERY_MS = 250;

const ERRORS = {
  2: "this video id is not valid",
  5: "the video cannot be played in this browser",
  100: "the video is private or gone",
  101: "its owner does not allow it on other sites",
  150: "its owner does not allow it on other sites",
  153: "YouTube wants to know which site embeds it, and the browser did not say",
};

class YouTube extends FramePlayer {
  #id = `streamit-${Math.random().toString(36).slice(2)}`;
  #listening = null;
  #isReady = false;
  #starting = null;

  constructor(stage, options) {
    super(stage, options);
    const start = Math.floor(options.startAt || 0);
    const url = withParams(options.url, {
      ...options.params,
      enablejsapi: 1,
      origin: location.origin,
      playsinline: 1,
      rel: 0,
      autoplay: options.autoplay ? 1 : 0,
      start: start || undefined,
    });
    this.load(url, () => {
      clearInterval(this.#listening);
      this.#listening = setInterval(() => this.#say({ event: "listening" }), LISTENING_EVERY_MS);
      this.#say({ event: "listening" });
    });
  }

  play() {
    this.#command("playVideo");
    return new Promise((resolve, reject) => {
      this.#starting?.resolve();
      this.#starting = { resolve, reject };
    });
  }

  pause() {
    this.#command("pauseVideo");
  }

  seek(seconds) {
    this.report(seconds);
    this.#command("seekTo", seconds, true);
    this.emit("seeked");
  }

  destroy() {
    clearInterval(this.#listening);
    this.#starting?.resolve();
    super.destroy();
  }

  receive({ event, info }) {
    clearInterval(this.#listening);
    switch (event) {
      case "onReady":
      case "initialDelivery":
        this.#ready();
        if (info) this.#delivered(info);
        break;
      case "infoDelivery":
        if (info) this.#delivered(info);
        break;
      case "onStateChange":
        this.#state(info);
        break;
      case "onAutoplayBlocked":
        this.#starting?.reject(notAllowed());
        this.#starting = null;
        break;
      case "onError":
        this.emit("error", ERRORS[info] ?? `YouTube reports error ${info}`);
        break;
    }
  }

  /** Fields come when they change: each is taken as it comes. */
  #delivered({ currentTime, duration, playerState }) {
    this.reportDuration(duration);
    if (playerState !== undefined) this.#state(playerState);
    const before = this.currentTime;
    if (!this.report(currentTime)) return;
    if (Math.abs(currentTime - before) > JUMP_S) this.emit("seeked");
    this.emit("timeupdate");
  }

  #state(state) {
    switch (state) {
      case STATE.playing:
        this.#starting?.resolve();
        this.#starting = null;
        this.reportPaused(false);
        break;
      case STATE.paused:
        this.reportPaused(true);
        break;
      case STATE.buffering:
        this.emit("waiting");
        break;
      case STATE.ended:
        this.reportPaused(true);
        this.emit("ended");
        break;
    }
  }

  #ready() {
    if (this.#isReady) return;
    this.#isReady = true;
    for (const name of ["onStateChange", "onError", "onAutoplayBlocked"]) this.#command("addEventListener", name);
    this.emit("ready");
  }

  #command(func, ...args) {
    this.#say({ event: "command", func, args });
  }

  #say(message) {
    this.post(JSON.stringify({ ...message, id: this.#id, channel: "widget" }));
  }
}

export default function mount(stage, options) {
  return new YouTube(stage, options);
}
