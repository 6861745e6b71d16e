// PeerTube in a page, by the messages of its embed player (docs.joinpeertube.org/api/embed-player): JSON-RPC as the
// jschannel library writes it, `{ id, method: "peertube::seek", params: 30 }`. It says where it is twice a second; that it
// waits for data, and that a person has sought, it does not say: both show in where it is.
import { FramePlayer, withParams } from "/bridge/v1.js";

const SCOPE = "peertube::";

/** A jump larger than this between two reports is a person's seek. */
const JUMP_S = 1.5;

/** So much further it has gone on, and has not only rounded. */
const STEP_S = 0.05;

class PeerTube extends FramePlayer {
  #nextId = 1;
  /** Where it was, by its last report. */
  #last = NaN;

  constructor(stage, options) {
    super(stage, options);
    const start = Math.floor(options.startAt || 0);
    if (start && options.autoplay) this.aim(start, undefined, { isQuiet: true, isAnew: true });
    this.load(withParams(options.url, {
      ...options.params,
      api: 1,
      autoplay: options.autoplay ? 1 : 0,
      start: start ? `${start}s` : undefined,
    }));
  }

  async play() { this.#call("play"); }

  pause() { this.#call("pause"); }

  seek(seconds) {
    this.aim(seconds);
    this.#call("seek", seconds);
  }

  receive({ method, params }) {
    switch (method) {
      case `${SCOPE}__ready`:
        // Until it is answered the other end of the channel keeps everything to itself.
        if (params?.type === "publish-request") this.#send("__ready", { type: "publish-reply", publish: [] });
        break;
      case `${SCOPE}ready`:
        this.emit("ready");
        break;
      case `${SCOPE}playbackStatusChange`:
        this.#changed(params);
        break;
      case `${SCOPE}playbackStatusUpdate`:
        if (params !== null && typeof params === "object") this.#is(params);
        break;
    }
  }

  #changed(state) {
    switch (state) {
      case "playing":
        this.reportPaused(false);
        break;
      case "paused":
        // At its end it pauses by itself, and says `ended` next. If somebody did pause there, its next report says so.
        if (!(this.duration - this.currentTime < 1)) this.#isPaused();
        break;
      case "ended":
        this.#isPaused();
        this.emit("ended");
        break;
    }
  }

  #isPaused() {
    this.reportStalled(false);
    this.reportPaused(true);
  }

  #is({ position, duration, playbackState }) {
    if (typeof position !== "number") return;
    const moved = position - this.#last;
    this.#last = position;
    this.reportDuration(duration);
    if (playbackState === "paused" && !this.paused) this.#isPaused();
    if (playbackState === "playing") this.#isPlayingAt(position, moved);
    // Before it has begun it is at 0, wherever it will begin, unless it was sent somewhere.
    else if (playbackState !== "unstarted" || this.seeking) this.#isAt(position);
  }

  #isPlayingAt(position, moved) {
    const isMoving = moved > 0 && moved < JUMP_S;
    // It says that it is where it was sent as soon as it is told; it is there when it goes on from there.
    const isOnFromThere = position > this.currentTime + STEP_S && position < this.currentTime + JUMP_S;
    if (this.seeking && !isMoving && !isOnFromThere) return;
    // One that stands still where it should play waits for data.
    if (moved === 0) this.reportStalled(true);
    else if (isMoving) this.reportStalled(false);
    if (this.#isAt(position)) this.emit("timeupdate");
  }

  #isAt(position) {
    const isJump = !this.seeking && this.distanceTo(position) > JUMP_S;
    const isTaken = this.report(position);
    if (isTaken && isJump) this.emit("seeked");
    return isTaken;
  }

  #call(name, params) {
    this.#send(name, params, this.#nextId++);
  }

  /** Without an id it is a word that nobody answers. */
  #send(name, params, id) {
    this.post(JSON.stringify({ id, method: SCOPE + name, params }));
  }
}

export default function mount(stage, options) {
  return new PeerTube(stage, options);
}
