// Keeping a playing player on the timeline: when to bend its speed, when to seek, when to leave it alone. Pure: no
// player, no clock; the moment (milliseconds) and the error (seconds, positive: behind) are arguments.
//
// A speed is written once to begin a correction and once to end it, never per tick: a player that is written to all the
// time crackles on phones and over Bluetooth (commaai/connect #595).
//
// Numbers are of systems that hold players together (MediaSync, timingsrc, Sendspin), or were measured with
// `cargo xtask bench --only sync`; where neither is named they follow from the others.

/**
 * Begins beyond this: above what a player jitters by (7 ms, measured), below what anybody sees (a frame of a film is 42 ms);
 * timingsrc lets 25 ms be.
 */
const BEGIN_S = 0.02;
/** Soon after a move a rest of it is worth mending: two players that are off either way are off by twice as much. */
const BEGIN_SOON_S = 0.01;

/** Ends within this: a steady player is not read more exactly (measured). */
const ARRIVED_S = 0.005;

/** Beyond this a bend would take longer than a seek is disturbing: where MediaSync, timingsrc and players' own SDKs seek. */
const SEEK_S = 1;

/** The same where bending does not help: further off than a seek lands (24 ms, measured), and not more often than this. */
const RATELESS_SEEK_S = 0.15;
const RATELESS_PAUSE_MS = 5000;

/** Nobody hears this much, with the pitch preserved: Sendspin's limit, 8.6 cents. */
const GENTLE_RATE = 0.005;
/** For errors that are seen; audible to some, as vibrato only if it came and went (Sendspin gave up trimming by 4 %). */
const FIRM_RATE = 0.03;
/** For errors that a seek would hardly beat; and soon after a move, when the sound has just been cut anyway. */
const HARD_RATE = 0.08;
/** Firmly it would take thirteen seconds from here. */
const HARD_BEYOND_S = 0.4;
/** Errors beyond this are bent firmly: gently it would take twelve seconds. Others correct nothing smaller. */
const GENTLE_BELOW_S = 0.06;
/** Soon after a move everyone expects a change: then also a small error is bent hard, to be gone when it is looked at. */
const SOON_MS = 6000;
/** What a bend is sized to take, as far as the limits of its rate allow: one to two seconds, as Sendspin's. */
const ARRIVE_S = 1.5;
const ARRIVE_SOON_S = 0.8;
/** How old the median of the samples is by the time it is judged: a bend has gone on since. */
const SAMPLES_AGE_S = 0.1;
/** A bend that has not arrived by then, the longest that is planned and a little, is judged, and if need be begun anew. */
const BEND_LIMIT_MS = 15_000;

/** Nothing is believed for so long after a seek, a stall or a change of visibility: timingsrc lets Safari settle as long. */
const SETTLE_MS = 500;

/** Samples whose median counts. */
const SAMPLES = 3;
/** After a move they are believed at once when they agree so well: a picture that is not moving yet falls behind by more. */
const AGREE_S = 0.01;

/** So many seeks in so short a time mean that this device or line cannot keep up: MediaSync's guard, for slower lines. */
const STRUGGLE_SEEKS = 3;
const STRUGGLE_MS = 10_000;
/** Then a larger error is borne, and each further seek waits twice as long as the one before. */
const STRUGGLE_FACTOR = 3;
const STRUGGLE_PAUSE_MS = 10_000;
const STRUGGLE_PAUSE_MAX_MS = 120_000;
/** In place for so long, it keeps up again. */
const CALM_MS = 20_000;

/**
 * For so long a line that ran dry again loads before the room comes by: twice as long each time, and no less than getting
 * there took. A line of half of what the video needs then shows it half of the time, and in its place.
 */
const LOAD_S = 5;
const MAX_LOAD_S = 30;

/**
 * A bend that mends less than this share of what it should has not helped; twice, and it is not tried again. MediaSync
 * keeps the like for each version of a browser.
 */
const HELPED_SHARE = 0.3;
const MAX_HELPLESS = 2;

/** A quicker seek teaches this share of what it was quicker by, where a player aims at a moment that it cannot wait for. */
const LEARN_SHARE = 0.6;
/**
 * The same where it waits for the room: on one device seeks took 150 to 380 ms, by how far the last key frame is (measured),
 * and to wait for longer is seen less than to come too late.
 */
const LEARN_SHARE_OF_WAITING = 0.2;
/** A cost is never believed beyond its limit; of seeks it is MediaSync's. */
export const MAX_SEEK_S = 5;
const MAX_START_S = 0.5;

/**
 * What a browser was seen to take from play() to a moving picture, before anything is known of this one. After a seek (and
 * at first) its pipeline is empty; where it merely paused, the next picture is there.
 */
const USUAL_S = { start: 0.06, resume: 0 };
/** The clock of a player that resumes may even leap by what its loudspeaker had in hand. */
const LEAST_START_S = -0.1;
/** The median of so many starts is expected of the next: one that was held up says nothing about the others. */
const STARTS = 5;

/** A seek that is planned for too short a time comes late, one for too long only waits: a third is added, and a frame. */
const MARGIN = 1.3;
const MARGIN_S = 0.05;
/** Before anything is known: a decoder has to come from the last key frame, which took up to 0.38 s (measured). */
const LEAST_SEEK_S = 0.4;

/**
 * What a device takes to do as it is told, in seconds: learned from what it did, kept by the caller.
 * @typedef {object} Costs
 * @property {number[]} start from play() after a seek to the first moving picture, the last few times
 * @property {number[]} resume the same where the player had paused
 * @property {number} seek from one place to another
 * @property {boolean} [isRateless] bending its speed did not help
 */

/** @returns {Costs} */
export const noCosts = () => ({
  start: [USUAL_S.start, USUAL_S.start],
  resume: [USUAL_S.resume, USUAL_S.resume],
  seek: 0,
});

/**
 * `start`: play() after a seek or at first; `resume`: play() where it had paused; `seek`: to another place while it plays.
 * @typedef {"start" | "resume" | "seek"} Move
 */

/**
 * What the player can do about its speed.
 * @typedef {"free" | "steps" | "none"} RateKind
 */

/** An error that has grown by so much since it is being bent away is another one. */
const GROWN_S = 0.03;

/**
 * @typedef {{ kind: "bend", rate: number } | { kind: "rest" } | { kind: "seek" }} Correction
 * `bend` begins a correction, `rest` ends it, `seek` goes to the timeline at once.
 */

export class Controller {
  #costs;
  #seekBeyondS;
  #cooldownMs;
  #settlesAt = -Infinity;
  /** Whether samples that agree are believed before that. */
  #isEager = false;
  /** @type {number[]} */
  #errors = [];
  /** @type {{ rate: number, fromMs: number, errorS: number } | null} */
  #bend = null;
  #helpless = 0;
  /** @type {number[]} */
  #soughtAt = [];
  /** Seeks since it was found that seeking does not help. */
  #struggles = 0;
  /** How much to load when it runs dry the next time, in seconds. */
  #loadS = LOAD_S;
  #nextSeekAt = -Infinity;
  #calmSince = Infinity;
  /** What the next settled error is the miss of, and how late it was begun. @type {{ kind: Move, lateS: number } | null} */
  #learning = null;
  #movedAt = -Infinity;

  /** Corrections so far. */
  seeks = 0;
  bends = 0;
  /** Writes of the player's speed so far. */
  writes = 0;

  /**
   * @param {Costs} costs learned earlier; changed in place
   * @param {{ seekBeyondS?: number, cooldownMs?: number }} [limits] of players that cannot be bent
   */
  constructor(costs, { seekBeyondS = SEEK_S, cooldownMs = 1000 } = {}) {
    this.#costs = costs;
    this.#seekBeyondS = seekBeyondS;
    this.#cooldownMs = cooldownMs;
  }

  get costs() { return this.#costs; }
  get isBending() { return this.#bend !== null; }

  /** Whether seeking does not help: the line or the device is too slow. */
  get isStruggling() { return this.#struggles > 0; }

  /**
   * What a start is expected to take, in seconds.
   * @param {"start" | "resume"} kind
   */
  startCost(kind) { return median(this.#costs[kind]); }

  /** The error as last judged, in seconds; NaN while nothing is believed. */
  get error() { return this.#errors.length < SAMPLES ? NaN : median(this.#errors); }

  /** Whether the player is being sent somewhere while it plays: by how much it misses is not known yet. */
  get isSeeking() { return this.#learning?.kind === "seek"; }

  /**
   * Somebody gave an order: what was known of the error is of the past.
   * @param {number} nowMs
   * @param {number | null} [movedS] how far the room was moved on, if it plays as before: so much of the miss is not what
   *   a seek under way takes
   */
  ordered(nowMs, movedS = null) {
    this.#movedAt = nowMs;
    if (movedS === null || !this.#learning || !this.isSeeking) {
      this.stalled(nowMs);
      return;
    }
    this.#learning.lateS += movedS;
    this.settle(nowMs);
  }

  /** How long the next seek may take: so far ahead a player is sent that then waits for the room. */
  get seekAllowance() {
    return Math.max(LEAST_SEEK_S, this.#costs.seek * MARGIN + MARGIN_S);
  }

  /** How much is bent away in the time that a seek may take, soon after a move, in seconds. */
  get mendedBySeekTime() {
    return this.#costs.isRateless ? 0 : this.seekAllowance * HARD_RATE;
  }

  /**
   * The player was put up and has become ready: what that took is the first that is known of its line.
   * @param {number} tookS
   */
  becameReady(tookS) {
    this.#costs.seek = Math.min(MAX_SEEK_S, Math.max(this.#costs.seek, tookS));
  }

  /**
   * A seek has arrived, and waits for the room. One that took long is remembered at once, one that was quick by and by.
   * @param {number} tookS
   */
  landed(tookS) {
    this.#tookToSeek(tookS, LEARN_SHARE_OF_WAITING);
  }

  /**
   * @param {number} tookS
   * @param {number} share
   */
  #tookToSeek(tookS, share) {
    // That was no seek but a line that was away.
    if (tookS > MAX_SEEK_S) return;
    const cost = Math.max(tookS, this.#costs.seek + share * (tookS - this.#costs.seek));
    this.#costs.seek = Math.max(0, Math.min(MAX_SEEK_S, cost));
  }

  /**
   * The player has been started, or sought while it plays: its next settled error is the miss.
   * @param {Move} kind
   * @param {number} nowMs
   * @param {number} [lateS] how long after its moment: so much of the miss is not what moving takes
   */
  moved(kind, nowMs, lateS = 0) {
    this.#movedAt = nowMs;
    this.settle(nowMs);
    this.#isEager = true;
    this.#learning = { kind, lateS };
  }

  /** Nothing is believed for a while: a tab that comes back, a clock in doubt. */
  settle(/** @type {number} */ nowMs) {
    this.moving(nowMs);
    this.#isEager = false;
  }

  /** The move is still under way. */
  moving(/** @type {number} */ nowMs) {
    this.#settlesAt = nowMs + SETTLE_MS;
    this.#errors = [];
  }

  /** As `settle`; and what comes of it is not what a move costs. */
  stalled(/** @type {number} */ nowMs) {
    this.settle(nowMs);
    this.#learning = null;
  }

  /** It ran dry again and cannot wait ahead: for a while it is left behind with what it has, each time for longer. */
  leaveBehind(/** @type {number} */ nowMs) {
    this.#struggles += 1;
    this.#leave(nowMs);
  }

  /**
   * It ran dry again: so far ahead of the room it is sent, to load until the room comes by, in seconds.
   * @param {number} [tookS] what it took to get somewhere, if the room had gone by meanwhile
   */
  loadAhead(tookS = 0) {
    const seconds = Math.min(MAX_LOAD_S, Math.max(this.#loadS, tookS * MARGIN));
    this.#loadS = Math.min(MAX_LOAD_S, 2 * seconds);
    this.#calmSince = Infinity;
    return seconds;
  }

  /** Its speed is 1 again, whoever saw to it. */
  straightened() {
    this.#bend = null;
  }

  /**
   * What to do about an error. To be called some ten times a second while player and room play.
   * @param {number} nowMs
   * @param {number} errorS how far the player is behind
   * @param {RateKind} rate
   * @returns {Correction | null}
   */
  step(nowMs, errorS, rate) {
    if (!Number.isFinite(errorS) || (nowMs < this.#settlesAt && !this.#isEager)) return null;
    this.#errors.push(errorS);
    if (this.#errors.length > SAMPLES) this.#errors.shift();
    if (this.#errors.length < SAMPLES) return null;
    if (nowMs < this.#settlesAt && Math.max(...this.#errors) - Math.min(...this.#errors) > AGREE_S) return null;
    this.#settlesAt = nowMs;
    const error = median(this.#errors);
    this.#learn(error);
    const canBend = rate === "free" && !this.#costs.isRateless;
    if (this.#bend) return this.#watch(nowMs, error, canBend);
    const isRateless = rate === "free" && !canBend;
    const tolerance = isRateless ? RATELESS_SEEK_S : this.#seekBeyondS;
    this.#calm(nowMs, Math.abs(error) < tolerance);
    if (Math.abs(error) > tolerance * (this.isStruggling ? STRUGGLE_FACTOR : 1)) {
      return this.#seek(nowMs, isRateless ? RATELESS_PAUSE_MS : this.#cooldownMs);
    }
    // Going faster would only empty it sooner.
    if (this.isStruggling && error > 0 && nowMs < this.#nextSeekAt) return null;
    if (canBend && Math.abs(error) > (this.#isSoon(nowMs) ? BEGIN_SOON_S : BEGIN_S)) return this.#begin(nowMs, error);
    return null;
  }

  #isSoon(/** @type {number} */ nowMs) { return nowMs - this.#movedAt < SOON_MS; }

  /**
   * @param {number} nowMs
   * @param {boolean} isCalm
   */
  #calm(nowMs, isCalm) {
    this.#calmSince = isCalm ? Math.min(this.#calmSince, nowMs) : Infinity;
    if (nowMs - this.#calmSince <= CALM_MS) return;
    this.#struggles = 0;
    this.#loadS = Math.max(LOAD_S, this.#loadS / 2);
    this.#calmSince = nowMs;
  }

  /**
   * @param {number} nowMs
   * @param {number} cooldownMs
   */
  #seek(nowMs, cooldownMs) {
    if (nowMs < this.#nextSeekAt) return null;
    this.#soughtAt = [...this.#soughtAt.filter((atMs) => nowMs - atMs < STRUGGLE_MS), nowMs];
    if (this.isStruggling || this.#soughtAt.length >= STRUGGLE_SEEKS) this.#struggles += 1;
    if (this.isStruggling) this.#leave(nowMs);
    else this.#nextSeekAt = nowMs + cooldownMs;
    this.#bend = null;
    return /** @type {const} */ ({ kind: "seek" });
  }

  /** Not sought again for a while: the longer, the more often it did not help. */
  #leave(/** @type {number} */ nowMs) {
    const pause = STRUGGLE_PAUSE_MS * 2 ** (this.#struggles - 1);
    this.#nextSeekAt = nowMs + Math.min(pause, STRUGGLE_PAUSE_MAX_MS);
  }

  /**
   * @param {number} nowMs
   * @param {number} error
   */
  #begin(nowMs, error) {
    const isSoon = this.#isSoon(nowMs);
    const size = Math.abs(error);
    const most = isSoon || size > HARD_BEYOND_S ? HARD_RATE : size > GENTLE_BELOW_S ? FIRM_RATE : GENTLE_RATE;
    const share = Math.min(most, Math.max(GENTLE_RATE, size / (isSoon ? ARRIVE_SOON_S : ARRIVE_S)));
    const rate = 1 + Math.sign(error) * share;
    this.#bend = { rate, fromMs: nowMs, errorS: error };
    this.bends += 1;
    this.writes += 1;
    return /** @type {const} */ ({ kind: "bend", rate });
  }

  /**
   * @param {number} nowMs
   * @param {number} error
   * @param {boolean} canBend
   */
  #watch(nowMs, error, canBend) {
    const bend = this.#bend;
    if (!bend) return null;
    const passedS = (nowMs - bend.fromMs) / 1000;
    const ahead = (bend.rate - 1) * SAMPLES_AGE_S;
    const isThere = Math.abs(error) < ARRIVED_S || Math.sign(error - ahead) !== Math.sign(bend.errorS);
    const isLost = Math.abs(error) > SEEK_S + BEGIN_S;
    const isLate = passedS * 1000 > BEND_LIMIT_MS;
    // The clock was not known yet, or the player stood for a moment: what was begun is too little.
    const isTooLittle = Math.abs(error) > Math.abs(bend.errorS) + GROWN_S;
    if (!isThere && !isLost && !isLate && !isTooLittle && canBend) return null;
    const should = Math.min(Math.abs(bend.errorS), Math.abs(bend.rate - 1) * passedS);
    const did = (bend.errorS - error) * Math.sign(bend.errorS);
    if (passedS > 1 && !isTooLittle) {
      this.#helpless = did < HELPED_SHARE * should ? this.#helpless + 1 : 0;
      if (this.#helpless >= MAX_HELPLESS) this.#costs.isRateless = true;
    }
    this.#bend = null;
    this.writes += 1;
    this.#errors = [];
    return /** @type {const} */ ({ kind: "rest" });
  }

  /** @param {number} error */
  #learn(error) {
    if (this.#learning === null) return;
    const { kind, lateS } = this.#learning;
    this.#learning = null;
    const miss = error - lateS;
    if (kind === "seek") {
      this.#tookToSeek(this.#costs.seek + miss, LEARN_SHARE);
    } else {
      const took = Math.max(LEAST_START_S, Math.min(MAX_START_S, this.startCost(kind) + miss));
      this.#costs[kind] = [...this.#costs[kind], took].slice(-STARTS);
    }
  }
}

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
