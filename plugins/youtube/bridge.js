// YouTube in a page, by the messages its embed player exchanges; no script of YouTube's is loaded.
import { FramePlayer, notAllowed, withParams } from "/bridge/v1.js";

const STATE = { unstarted: -1, ended: 0, playing: 1, paused: 2, buffering: 3, cued: 5 };

const STATES = new Set(Object.values(STATE));

/** No player is faster. */
const MAX_SPEED = 16;

/** The player does not say when somebody seeks: a jump larger than this between two reports was one. */
const JUMP_S = 1;

/** Two reports that agree to this are of one and the same run. */
const AGREE_S = 0.7;

/** A player that says it plays and does not move for so long shows something else: an advertisement, mostly. */
const STUCK_MS = 2000;

/** Until it answers, it is told again that somebody listens. */
const LISTENING_EVERY_MS = 250;

/** A report's own stamp is believed to be this old at most: it is by the machine's clock. */
const MAX_AGE_MS = 1000;

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
  #videoId;
  #listening = null;
  #isReady = false;
  #starting = null;
  #state = STATE.unstarted;
  #hasPlayed = false;
  /** Sought before it has begun it would begin: until somebody wishes that, the place to go is kept here. */
  #isBegun;
  #startAt = null;
  /**
   * By what it shows that it shows something else than the video, an advertisement mostly: "video" (another one's name),
   * "length" (another length) or "state" (it begins again). What it reports meanwhile is not about the video.
   */
  #adBy = null;
  /** Where the video was when something else began, and where it was sent since. */
  #adAt = 0;
  #adTo = null;
  /** A jump that the next report has to confirm. */
  #jump = null;
  #movedAt = 0;
  #lastTime = NaN;
  #speed = 1;
  #muted = false;
  #volume = 1;

  constructor(stage, options) {
    super(stage, options);
    this.#videoId = new URL(options.url, location.href).pathname.split("/").pop();
    this.#isBegun = Boolean(options.autoplay);
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
    if (start && options.autoplay) this.aim(start, undefined, { isQuiet: true, isAnew: true });
    this.load(url, () => {
      clearInterval(this.#listening);
      this.#listening = setInterval(() => this.#say({ event: "listening" }), LISTENING_EVERY_MS);
      this.#say({ event: "listening" });
    });
  }

  // Its speeds are a short list, a quarter apart.
  get rate() { return "steps"; }
  get playbackRate() { return this.#speed; }
  set playbackRate(speed) { this.#command("setPlaybackRate", speed); }
  get muted() { return this.#muted; }
  set muted(muted) { this.#command(muted ? "mute" : "unMute"); }
  get volume() { return this.#volume; }
  set volume(volume) { this.#command("setVolume", Math.round(volume * 100)); }

  get stalled() {
    const isStuck = this.#state === STATE.playing && performance.now() - this.#movedAt > STUCK_MS;
    return super.stalled || this.#adBy !== null || isStuck;
  }

  play() {
    this.#isBegun = true;
    this.#goToStart();
    this.#command("playVideo");
    return new Promise((resolve, reject) => {
      this.#starting?.resolve();
      this.#starting = { resolve, reject };
    });
  }

  pause() {
    // Where somebody has just gone needs no second report any more: none of a playing player will come.
    const jump = this.#jump;
    this.#jump = null;
    if (jump && this.report(jump.seconds, jump.at) && this.#state === STATE.playing) this.emit("seeked");
    this.#command("pauseVideo");
  }

  seek(seconds) {
    this.#jump = null;
    if (!this.#isBegun) {
      this.#startAt = seconds;
      this.arrive(seconds);
      this.emit("seeked");
      return;
    }
    if (this.#adBy) this.#adTo = seconds;
    this.aim(seconds);
    this.#command("seekTo", seconds, true);
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
        if (info !== null && typeof info === "object") this.#delivered(info);
        this.#ready();
        break;
      case "infoDelivery":
        if (info !== null && typeof info === "object") this.#delivered(info);
        break;
      case "onStateChange":
        this.#changed(info);
        break;
      case "onAutoplayBlocked":
        this.#isBegun = this.#hasPlayed;
        this.#starting?.reject(notAllowed());
        this.#starting = null;
        this.emit("blocked");
        break;
      case "onError":
        if (Number.isInteger(info) && info > 0 && info < 1000) this.emit("error", ERRORS[info] ?? `YouTube reports error ${info}`);
        break;
    }
  }

  /** Fields come when they change: each is taken as it comes. */
  #delivered({ currentTime, currentTimeLastUpdated_, duration, playerState, playbackRate, muted, volume, videoData }) {
    if (typeof videoData?.video_id === "string" && videoData.video_id) {
      if (videoData.video_id !== this.#videoId) this.#advert("video");
      else if (this.#adBy === "video") this.#isBack();
    }
    this.#lasts(duration);
    if (playerState !== undefined) this.#changed(playerState);
    if (Number.isFinite(playbackRate) && playbackRate > 0 && playbackRate <= MAX_SPEED && playbackRate !== this.#speed) {
      this.#speed = playbackRate;
      this.emit("ratechange");
    }
    const isVolume = Number.isFinite(volume) && volume >= 0 && volume <= 100;
    if (typeof muted === "boolean" || isVolume) {
      this.#muted = typeof muted === "boolean" ? muted : this.#muted;
      this.#volume = isVolume ? volume / 100 : this.#volume;
      this.emit("volumechange");
    }
    if (Number.isFinite(currentTime)) this.#at(currentTime, this.#stamp(currentTimeLastUpdated_));
  }

  /** A video grows while it is live; one that is shorter of a sudden is another one. */
  #lasts(duration) {
    if (!Number.isFinite(duration) || duration <= 0) return;
    const isOther = Math.abs(duration - this.duration) > 1;
    if (this.#adBy === "length") {
      if (!isOther) this.#isBack();
    } else if (this.#adBy === "state") {
      if (isOther) this.#advert("length");
    } else if (this.#adBy === null) {
      if (this.#hasPlayed && isOther && duration < this.duration) this.#advert("length");
      else this.reportDuration(duration);
    }
  }

  /** The moment of performance.now() at which a report was true. */
  #stamp(updatedS) {
    const now = performance.now();
    if (!Number.isFinite(updatedS)) return now;
    return now - Math.min(MAX_AGE_MS, Math.max(0, Date.now() - updatedS * 1000));
  }

  #at(seconds, at) {
    const hasMoved = seconds !== this.#lastTime;
    if (hasMoved) this.#movedAt = performance.now();
    this.#lastTime = seconds;
    // Before it plays it is at 0, wherever it will begin.
    if (!this.#hasPlayed) return;
    if (this.#adBy) {
      // Nothing else says that it is over: the video goes on where it was.
      const isOn = hasMoved && [this.#adAt, this.#adTo ?? this.#adAt].some((place) => Math.abs(seconds - place) < JUMP_S);
      if (this.#adBy !== "state" || !isOn || this.#state !== STATE.playing) return;
      this.#isBack();
    }
    const isJump = this.#isReady && !this.seeking && this.distanceTo(seconds, at) > JUMP_S;
    if (isJump && !this.#isConfirmed(seconds, at)) return;
    this.#jump = null;
    if (!this.report(seconds, at)) return;
    if (isJump) this.emit("seeked");
    this.emit("timeupdate");
  }

  /**
   * Whether a jump is somebody's: a paused player stays there, a playing one goes on from there in its next report. What
   * comes while it loads or shows something else is neither.
   */
  #isConfirmed(seconds, at) {
    const before = this.#jump;
    this.#jump = { seconds, at };
    if (this.#state === STATE.paused) return true;
    if (this.#state !== STATE.playing || !before || at <= before.at) return false;
    return Math.abs(seconds - (before.seconds + (at - before.at) / 1000)) < AGREE_S;
  }

  /** Something else is shown. */
  #advert(by) {
    const isNews = this.#adBy === null;
    this.#adBy = by;
    this.#jump = null;
    if (!isNews) return;
    this.#adAt = this.currentTime;
    this.#adTo = this.seeking ? this.currentTime : null;
    this.reportStalled(true);
  }

  /** The video is back: where it was, so it is sent anew to where it was sent meanwhile. */
  #isBack() {
    this.#adBy = null;
    this.#jump = null;
    this.reportStalled(this.#state === STATE.buffering);
    const to = this.#adTo;
    this.#adTo = null;
    if (to !== null) this.seek(to);
  }

  /** To where it was sent before it could go. */
  #goToStart() {
    if (this.#startAt === null) return;
    const seconds = this.#startAt;
    this.#startAt = null;
    this.aim(seconds, undefined, { isQuiet: true, isAnew: true });
    this.#command("seekTo", seconds, true);
  }

  #changed(state) {
    if (state === this.#state || !STATES.has(state)) return;
    this.#state = state;
    switch (state) {
      case STATE.unstarted:
        // A video that has begun is not begun again by its viewer.
        if (this.#hasPlayed) this.#advert(this.#adBy ?? "state");
        break;
      case STATE.playing:
        this.#movedAt = performance.now();
        if (!this.#adBy) this.reportStalled(false);
        this.#hasPlayed = true;
        this.#isBegun = true;
        this.#starting?.resolve();
        this.#starting = null;
        this.reportPaused(false);
        this.#goToStart();
        break;
      case STATE.paused:
        if (!this.#adBy) this.reportStalled(false);
        this.reportPaused(true);
        break;
      case STATE.buffering:
        this.reportStalled(true);
        break;
      case STATE.ended:
        if (this.#adBy) break;
        this.reportStalled(false);
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
