// The host's controls: play, pause, and the position. They ask; what is shown is what the room says.
import { $, clockText, put, spokenTime } from "./page.js";
import { Seen } from "./seen.js";
import { isOver, localMs } from "../client/v1.js";

/** One press of a button, and one of an arrow key. */
const STEP_S = 10;
const KEY_STEP_S = 5;

/** A position that is dragged, or a key that is held, is told to the room at most this often. */
const SEEK_EVERY_MS = 300;

/** So many places the bar has while something plays: at each the browser draws it, and what is around it, anew. */
const PLACES = 250;

/** An order that the room has not answered by then is not counted on. */
const ASKED_MS = 2000;

/**
 * Tells the newest of many wishes, at once and then at most every so often.
 * @param {(seconds: number) => void} tell
 */
export class Newest {
  #tell;
  #waiting = null;
  #timer = null;

  constructor(tell) {
    this.#tell = tell;
  }

  wish(seconds) {
    if (this.#timer) {
      this.#waiting = seconds;
      return;
    }
    this.#tell(seconds);
    this.#timer = setTimeout(() => this.#next(), SEEK_EVERY_MS);
  }

  #next() {
    this.#timer = null;
    const seconds = this.#waiting;
    this.#waiting = null;
    if (seconds !== null) this.wish(seconds);
  }
}

/** Where the bar is: no nearer than one can see, and nothing long moves more than once a second. */
function inSteps(seconds, duration) {
  const step = Math.min(1, duration / PLACES);
  return Math.round(seconds / step) * step;
}

/** Events: `order` (detail: a PLAY, PAUSE or SEEK for the room); `refused`: Play, and the player here could not. */
export class Transport extends EventTarget {
  /** Where a hand or a key is at this moment, before the room has followed. */
  #held = null;
  #releasing = null;
  /** What was asked for last, until the room has answered. @type {boolean | null} */
  #asked = null;
  #forgetting = null;
  #seen = new Seen();
  #seeks = new Newest((seconds) => this.#order({ type: "SEEK", position_ms: Math.round(seconds * 1000) }));
  #view = {
    isPlaying: false, seconds: 0, duration: NaN, hasEnded: false, canPlay: false,
    can: { seek: true, pause: true, play: true }, isLive: false, liveStart: NaN, liveEdge: NaN,
  };

  constructor() {
    super();
    $("play").addEventListener("click", () => this.#toggle());
    // A key that is held is pressed once.
    $("play").addEventListener("keydown", (event) => { if (event.repeat) event.preventDefault(); });
    $("back").addEventListener("click", () => this.#step(-STEP_S));
    $("forward").addEventListener("click", () => this.#step(STEP_S));
    $("edge").addEventListener("click", () => this.#toTheEdge());
    const bar = $("position");
    bar.addEventListener("input", () => this.#hold(Number(bar.value)));
    bar.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -6, PageUp: 6 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.#step(steps[event.key] * KEY_STEP_S);
    });
  }

  show(view) {
    this.#view = view;
    const { isPlaying, seconds, duration, can, isLive, liveEdge } = view;
    const hasEnd = Number.isFinite(duration) && duration > 0;
    const hasEnded = view.hasEnded || isOver(seconds, duration);
    // Of what their own hand does nobody is surprised. What has ended rests, whether the room knows it yet or not.
    const isExpected = isPlaying === this.#asked || this.#held !== null;
    this.#seen.show({ isPlaying: isPlaying && !hasEnded, hasEnded }, localMs(), isExpected);
    if (isPlaying === this.#asked) this.#asked = null;
    const label = isPlaying && !hasEnded ? "Pause" : "Play";
    put($("play"), "textContent", label);
    put($("play"), "ariaDisabled", String(label === "Play" && !view.canPlay));
    put($("play"), "hidden", !(label === "Pause" ? can.pause : can.play));
    const hasEdge = Number.isFinite(liveEdge);
    // In a stream a step leads somewhere only if it is known how far one can go.
    for (const id of ["back", "forward"]) put($(id), "hidden", !can.seek || (isLive && !hasEdge));
    put($("edge"), "hidden", !can.seek || !hasEdge);
    // Without an end there is no bar that would be true.
    const bar = $("position");
    put(bar, "hidden", !can.seek || !hasEnd);
    const shown = this.#held ?? (hasEnd ? Math.min(seconds, duration) : seconds);
    if (hasEnd) {
      put(bar, "max", String(duration));
      put(bar, "value", String(this.#held ?? inSteps(shown, duration)));
      put(bar, "ariaValueText", `${spokenTime(shown)} of ${spokenTime(duration)}`);
    }
    const ended = hasEnded ? " · ended" : "";
    const time = hasEnd ? `${clockText(shown)} / ${clockText(duration)}` : clockText(shown);
    put($("time"), "textContent", `${isLive ? "Live" : time}${ended}`);
    $("time").classList.toggle("live", isLive);
  }

  /** The person has ordered so, here or with the player. Pressed again before the room has answered, it means the other. */
  expect(isPlaying) {
    this.#asked = isPlaying;
    this.#seen.pressed();
    clearTimeout(this.#forgetting);
    this.#forgetting = setTimeout(() => { this.#asked = null; }, ASKED_MS);
  }

  /** Whether who plays or pauses at this moment, with their player's own button, wants what the room has just done. */
  get isOvertaken() { return this.#asked === null && this.#seen.isOvertaken(localMs()); }

  #toggle() {
    const { canPlay } = this.#view;
    const { hasEnded, isPlaying: wasPlaying } = this.#seen.at(localMs());
    const isPlaying = this.#asked ?? wasPlaying;
    if ((!isPlaying || hasEnded) && !canPlay) {
      this.dispatchEvent(new Event("refused"));
      return;
    }
    this.expect(!isPlaying);
    // What has ended is begun again.
    if (hasEnded) this.#order({ type: "PLAY", position_ms: 0 });
    // A stream that nobody has watched yet, or that was paused for too long, has nothing to show where the room is.
    else if (!isPlaying && this.#isOutside) this.#order({ type: "PLAY", position_ms: this.#edgeMs });
    else this.#order({ type: isPlaying ? "PAUSE" : "PLAY" });
  }

  get #edgeMs() { return Math.floor(this.#view.liveEdge * 1000); }

  get #isOutside() {
    const { seconds, can, isLive, liveStart, liveEdge } = this.#view;
    return isLive && can.seek && liveEdge >= liveStart && !(seconds >= liveStart && seconds <= liveEdge);
  }

  #step(by) {
    const { seconds, duration, liveEdge } = this.#view;
    const last = Number.isFinite(liveEdge) ? liveEdge : duration;
    const end = Number.isFinite(last) && last > 0 ? last : Infinity;
    this.#hold(Math.min(Math.max(0, (this.#held ?? seconds) + by), end));
  }

  #toTheEdge() {
    this.#held = null;
    this.#order({ type: "SEEK", position_ms: this.#edgeMs });
  }

  /** The hand's position is shown until the room has had time to follow. */
  #hold(seconds) {
    this.#held = seconds;
    this.#seeks.wish(seconds);
    clearTimeout(this.#releasing);
    this.#releasing = setTimeout(() => { this.#held = null; }, 3 * SEEK_EVERY_MS);
    this.show(this.#view);
  }

  #order(message) {
    this.dispatchEvent(new CustomEvent("order", { detail: message }));
  }
}
