// Helpers for bridges, the browser half of a provider: one version for ever, so that a bridge may rely on them.
//
// A bridge's default export is `mount(stage, options) → Player`:
//   options.url          the derived URL
//   options.startAt      where to start, in seconds: for players that take it in their address; the page seeks otherwise
//   options.autoplay     whether to be playing
//   options.params       what the person chose of the manifest's render_params: { name: value }
//   options.player       the manifest's [player] table
//   options.settings     the manifest's [player.settings], with the operator's configuration filled in: { name: value }
//   options.assets(name) where a file is that the library carries beside this one, as a whole address; throws if it has none
//                        such: `await import(options.assets("player.js"))`
//   options.interactive  whether the person may move the player: the room's host

/**
 * A player as the page sees it: a small HTMLMediaElement. Times are in seconds.
 *
 * Events: ready play pause seeked timeupdate waiting ended error ratechange volumechange trackschange.
 * An event says what the player did, whoever wished it: the page tells its own orders from the person's. Two things are
 * nobody's wish and are no events: what a player does while it starts, and an advertisement (that is `stalled`).
 */
export class Player extends EventTarget {
  /** Where it is. While it seeks: where it goes. @returns {number} */
  get currentTime() { return 0; }
  /** NaN while it is not known, Infinity for a stream without an end. @returns {number} */
  get duration() { return NaN; }
  get paused() { return true; }
  /** A seek, or the loading of another address, is under way. */
  get seeking() { return false; }
  /** It has nothing to show: it buffers, or an advertisement is in the way. Also while paused. */
  get stalled() { return false; }
  /**
   * How its speed can be set: "free" (any, near 1: it can be held to the room by bending), "steps" or "none". With
   * "free" a bridge has `playbackRate` to read and write. The manifest's `rate`, if it has one, is the most that counts.
   * @returns {"free" | "steps" | "none"}
   */
  get rate() { return "playbackRate" in this ? "free" : "none"; }
  /**
   * Of a stream without an end: the latest place that it can be sent to and go on from, in seconds. What it needs to have
   * in hand for that is behind it. Absent where that is not known.
   * @returns {number | undefined}
   */
  get liveEdge() { return undefined; }
  /** The earliest such place. A room that is before it, or after the edge, is played at the edge. @returns {number | undefined} */
  get liveStart() { return undefined; }
  /** Resolves when it plays; rejects with NotAllowedError when the browser wants a click first. */
  async play() {}
  pause() {}
  seek(_seconds) {}
  destroy() {}

  // Where a player has them, a bridge may also offer:
  //
  // `muted` (boolean) and `volume` (0 to 1), to read and write; `volumechange` when they are others.
  //
  // `live`: whether this is a stream without an end. Without it the manifest's `live` counts.
  //
  // Tracks, which the page offers to each person. A list may be empty until the player knows; `trackschange` says that a
  // list, or what is shown, is another. What one throws, or rejects with, is said to the person, and nothing has changed.
  //   textTracks   [{ id, label, lang }]   `textTrack`: the id that is shown, or null    `setTextTrack(id | null)`
  //   audioTracks  [{ id, label, lang }]   `audioTrack`: the id that is heard            `setAudioTrack(id)`
  //   qualities    [{ id, label }]         `quality`: the id that was chosen, or null    `setQuality(id | null)`: null: by itself
  // `lang` is a language tag, like "de". The page keeps which language a person chose, and chooses it again for the next film.

  emit(type, detail = undefined) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A video that ran dry goes on with so much in hand: with less it would only run dry again. */
const ENOUGH_S = 2;

/** What of a <video> is passed on as it comes. */
const PASSED_ON = ["play", "timeupdate", "ended", "ratechange", "volumechange"];

/**
 * A player that is the browser's own <video>: for a file, or for a stream that a library of the bridge's feeds it with. The
 * bridge puts `video` where it likes, gives it its source, and emits `ready` and `error`; all else may stay as it is here.
 */
export class VideoPlayer extends Player {
  #video = document.createElement("video");
  #isDry = false;

  constructor() {
    super();
    const video = this.#video;
    video.controls = true;
    // Of the page's own button: it keeps the whole screen when the next film comes.
    video.controlsList?.add("nofullscreen");
    video.playsInline = true;
    video.preload = "auto";
    // No autoplay: the page plays when it is ready, for only then can it hear that the browser wants a click.
    for (const type of [...PASSED_ON, "pause", "seeked", "waiting"]) video.addEventListener(type, () => this.hear(type));
  }

  get video() { return this.#video; }

  get currentTime() { return this.#video.currentTime; }
  get duration() { return this.#video.duration; }
  get paused() { return this.#video.paused; }
  get seeking() { return this.#video.seeking; }
  get playbackRate() { return this.#video.playbackRate; }
  set playbackRate(rate) { this.#video.playbackRate = rate; }
  get muted() { return this.#video.muted; }
  set muted(muted) { this.#video.muted = muted; }
  get volume() { return this.#video.volume; }
  set volume(volume) { this.#video.volume = volume; }

  get stalled() {
    const { readyState, ended, error } = this.#video;
    if (error) return true;
    if (ended) this.#isDry = false;
    // What is buffered is an estimate: without a next picture it is dry, however much there seems to be.
    if (this.#isDry) this.#isDry = readyState < HTMLMediaElement.HAVE_FUTURE_DATA || !this.hasEnough;
    return this.#isDry;
  }

  /** Whether it has run out of data, and had not enough again when that was last asked. */
  get isDry() { return this.#isDry; }
  set isDry(isDry) { this.#isDry = isDry; }

  /** Whether one that ran dry has enough to go on. */
  get hasEnough() {
    return this.#video.readyState >= HTMLMediaElement.HAVE_ENOUGH_DATA || this.inHand >= ENOUGH_S;
  }

  /** How much is there to be shown from here, in seconds; up to the end it is as much as one likes. */
  get inHand() {
    const { buffered, currentTime, duration, ended } = this.#video;
    if (ended) return Infinity;
    for (let n = 0; n < buffered.length; n += 1) {
      if (buffered.start(n) <= currentTime + 0.1 && currentTime < buffered.end(n)) {
        const end = buffered.end(n);
        return end >= duration - 0.5 ? Infinity : end - currentTime;
      }
    }
    return 0;
  }

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

  /** The element says this: it is passed on if it is what the page understands by it. Bridges that know more override it. */
  hear(type) {
    const { ended, error, seeking } = this.#video;
    switch (type) {
      case "pause":
        // At its end, and when it fails, it pauses by itself: that is `ended`, and `error`.
        if (!ended && !error) this.emit("pause");
        break;
      case "seeked":
        // Of one that was overtaken on its way: the next one's is still to come.
        if (!seeking) this.emit("seeked");
        break;
      case "waiting":
        // A seek waits too; that is `seeking`.
        if (seeking || this.#isDry) break;
        this.#isDry = true;
        this.emit("waiting");
        break;
      default:
        this.emit(type);
    }
  }
}

/** All of a room lose a server at one moment: they come again at so many different ones, as shares of the time to wait. */
const LEAST_SHARE = 0.6;

/** How long to wait before what failed is tried again: `firstMs`, then twice as long and so on, up to `longestMs`. */
export class Backoff {
  #firstMs;
  #longestMs;
  #nextMs;

  constructor(firstMs, longestMs) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.reset();
  }

  /** The time until the next try, in milliseconds: up to four tenths less than said, each page at a moment of its own. */
  next() {
    const wholeMs = this.#nextMs;
    this.#nextMs = Math.min(2 * wholeMs, this.#longestMs);
    return wholeMs * (LEAST_SHARE + Math.random() * (1 - LEAST_SHARE));
  }

  /** It went well: the next failure is a first one. */
  reset() {
    this.#nextMs = this.#firstMs;
  }
}

/** The error a browser gives for playing without a click, for players that only report it. */
export function notAllowed() {
  return new DOMException("the browser wants a click before it plays", "NotAllowedError");
}

/** `url` with parameters appended; null and undefined are left out. */
export function withParams(url, params) {
  const result = new URL(url, location.href);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") result.searchParams.set(name, String(value));
  }
  return result.href;
}

/** Of so many places that it was sent to a player may still say that it has come there. */
const MAX_SENT = 50;

/** Whether a number that a player reports can be a time of a video, in seconds. */
const isTime = (seconds) => Number.isFinite(seconds) && seconds >= 0 && seconds < MAX_S;

/** A position is reported now and then; between two reports it moves on by itself, but not for longer than this. */
const MAX_EXTRAPOLATION_S = 1;

/** A report this near to where a player was sent says that it is there: players go to the nearest key frame. */
const NEAR_S = 1.5;

/** A player that is still elsewhere after this is not coming: it is where it says. */
const SEEK_PATIENCE_MS = 10_000;

/** A report this near to where the player would be had it not been sent says that it has not gone yet. */
const UNMOVED_S = 0.35;

/** A short way on is also gone by playing: a player that has had time for that, and for this, is believed. */
const SHORT_WAY_S = 2;

/** No video is longer: what is beyond is no time. */
const MAX_S = 1e7;

/** A player inside a frame of another origin, reached by messages. */
export class FramePlayer extends Player {
  #stage;
  #options;
  #frame = null;
  #position = 0;
  #positionAt = 0;
  #paused = true;
  #stalled = false;
  #duration = NaN;
  /** Where it was sent, when, how long that may take, whether it is said, and where it came from. */
  #aim = null;
  /** Where it was sent so far, and has not said that it has come to. */
  #sent = [];
  #listener = (event) => this.#hear(event);

  constructor(stage, options) {
    super();
    this.#stage = stage;
    this.#options = options;
    this.#position = options.startAt || 0;
    this.#positionAt = performance.now();
    addEventListener("message", this.#listener);
  }

  get options() { return this.#options; }
  get stage() { return this.#stage; }
  get frame() { return this.#frame; }
  get duration() { return this.#duration; }
  get paused() { return this.#paused; }
  get stalled() { return this.#stalled; }
  get seeking() { return this.#aim !== null; }
  get currentTime() {
    if (this.#aim) return this.#aim.seconds;
    if (!this.#isMoving) return this.#position;
    return this.#position + Math.min((performance.now() - this.#positionAt) / 1000, MAX_EXTRAPOLATION_S);
  }

  /** Puts a frame with `url` in the stage, in place of the one before. `loaded` runs at its load event. */
  load(url, loaded = () => {}) {
    this.unload();
    const { allow = [], sandbox } = this.#options.player;
    const frame = document.createElement("iframe");
    frame.title = "Video player";
    frame.allow = allow.join("; ");
    frame.allowFullscreen = allow.some((permission) => permission.split(" ")[0] === "fullscreen");
    // Some players refuse to start without knowing which site embeds them.
    frame.referrerPolicy = "strict-origin-when-cross-origin";
    if (sandbox) frame.sandbox.add(...sandbox);
    frame.addEventListener("load", () => frame === this.#frame && loaded());
    frame.src = url;
    this.#frame = frame;
    this.#stage.append(frame);
  }

  unload() {
    this.#frame?.remove();
    this.#frame = null;
  }

  /** Sends to the frame, and to no other origin than its own. */
  post(message) {
    if (this.#frame?.contentWindow) this.#frame.contentWindow.postMessage(message, new URL(this.#frame.src).origin);
  }

  /** A message of the frame's, parsed. Bridges override it. */
  receive(_message) {}

  /** What a text of the frame's says, as an object; anything else is ignored. Bridges whose player does not write JSON override it. */
  parseText(text) {
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  }

  /**
   * The player has been sent there: until it says so itself, its reports are of where it was before. `patienceMs` is how
   * long it may take; `isQuiet` says no `seeked` when it is there, for a start that is nobody's seek; `isAnew`: what was
   * there before is gone, and reports nothing any more.
   */
  aim(seconds, patienceMs = SEEK_PATIENCE_MS, { isQuiet = false, isAnew = false } = {}) {
    // One that is overtaken on its way came from where the first one did.
    const unmoved = isAnew ? null : this.#aim?.unmoved ?? {
      seconds: this.#aim ? this.#position : this.currentTime, at: performance.now(), isMoving: this.#isMoving,
    };
    this.#aim = { seconds, at: performance.now(), patienceMs, isQuiet, unmoved };
    this.#sent = [...this.#sent, seconds].slice(-MAX_SENT);
  }

  /** It is where it was sent, or will not come there; it is at `seconds`. Answers as `report`. */
  arrive(seconds, at = performance.now()) {
    if (!isTime(seconds)) return false;
    const isSaid = this.#aim !== null && !this.#aim.isQuiet;
    this.#aim = null;
    this.#set(seconds, at);
    if (isSaid) this.emit("seeked");
    return true;
  }

  /**
   * Sets the position a report gave, and the moment (of performance.now()) at which it was true; anything that is not a
   * number is ignored. Answers whether it was taken: not if it is of before a seek that is under way.
   */
  report(seconds, at = performance.now()) {
    if (!isTime(seconds)) return false;
    if (this.#aim) {
      const isLate = performance.now() - this.#aim.at >= this.#aim.patienceMs;
      return (isLate || this.#isThere(seconds, at)) && this.arrive(seconds, at);
    }
    this.#set(seconds, at);
    return true;
  }

  /**
   * How far a report is from where playing on may have brought the player since the one before, in seconds: what is far is
   * a person's seek. However long nothing was reported: a busy machine, or a tab that nobody sees, is silent for seconds.
   */
  distanceTo(seconds, at = performance.now()) {
    const ranOn = this.#isMoving ? Math.max(0, at - this.#positionAt) / 1000 : 0;
    return Math.max(this.#position - seconds, seconds - this.#position - ranOn, 0);
  }

  /**
   * The player says that a seek has ended, at `seconds`: one it was sent on with `aim`, or a person's. Of several that
   * overtook one another it may say the last only, or each; only where all are accounted for it has arrived.
   */
  reportSeeked(seconds) {
    if (!isTime(seconds)) return;
    const found = this.#sent.findIndex((place) => Math.abs(place - seconds) < NEAR_S);
    if (found >= 0) {
      this.#sent = this.#sent.slice(found + 1);
      if (this.#aim && this.#sent.length === 0) this.arrive(seconds);
    } else if (this.#aim === null) {
      this.#set(seconds, performance.now());
      this.emit("seeked");
    }
  }

  /** Whether a report is of where the player was sent. */
  #isThere(seconds, at) {
    const { seconds: target, at: sentAt, unmoved } = this.#aim;
    const since = (performance.now() - sentAt) / 1000;
    const ran = this.#paused ? 0 : since;
    if (seconds <= target - NEAR_S || seconds >= target + ran + NEAR_S) return false;
    if (unmoved === null) return true;
    // What it says may be of the way it was on; where that leads to the same place, there is nothing to tell apart.
    const way = target - unmoved.seconds;
    if (Math.abs(way) < UNMOVED_S) return true;
    const ranOn = unmoved.isMoving ? (at - unmoved.at) / 1000 : 0;
    const isUnmoved = Math.abs(seconds - unmoved.seconds - ranOn) < UNMOVED_S;
    return !isUnmoved || since > Math.max(0, way) + SHORT_WAY_S;
  }

  reportDuration(seconds) {
    if (seconds === Infinity || (isTime(seconds) && seconds > 0)) this.#duration = seconds;
  }

  /** Sets whether it plays, and says so if that is news. */
  reportPaused(paused) {
    if (paused === this.#paused) return;
    const position = this.#aim ? this.#position : this.currentTime;
    this.#paused = paused;
    this.#set(position, performance.now());
    this.emit(paused ? "pause" : "play");
  }

  /** Sets whether it has nothing to show, and says `waiting` if that is news. */
  reportStalled(stalled) {
    if (stalled === this.#stalled) return;
    const position = this.#aim ? this.#position : this.currentTime;
    this.#stalled = stalled;
    this.#set(position, performance.now());
    if (stalled) this.emit("waiting");
  }

  destroy() {
    removeEventListener("message", this.#listener);
    this.unload();
  }

  /** Whether its position goes on by itself. */
  get #isMoving() { return !this.#paused && !this.#stalled; }

  #set(seconds, at) {
    this.#position = seconds;
    this.#positionAt = at;
  }

  #hear(event) {
    // A frame that was replaced, another frame, another site: all fail one of these.
    if (!this.#frame || event.source !== this.#frame.contentWindow) return;
    if (!this.#options.player.embed_origins.includes(event.origin)) return;
    const message = typeof event.data === "string" ? this.parseText(event.data) : event.data;
    if (message !== null && typeof message === "object") this.receive(message);
  }
}
