// Whether a player has had nothing to show for so long that it starves, and when it has had enough again. Pure: every moment
// is an argument, in milliseconds.

/** A player that has nothing to show for so long is starving; shorter is a hiccup, which bending makes good for in nine seconds. */
export const STARVING_MS = 700;

/**
 * One that starves again within this time has to have had enough for longer, twice as long each time, before a room that
 * waits for it goes on: it stands once for long rather than again and again.
 */
const STARVES_AGAIN_MS = 60_000;
const PATIENCE_MS = 5000;
const MAX_PATIENCE_MS = 60_000;

/**
 * @typedef {object} Sight what a look at the player shows
 * @property {boolean} isHungry it is to show something, and has nothing
 * @property {boolean} isExpected it has nothing because it is on its way to where it was sent
 * @property {boolean} isEnough what it has is enough for whoever waits for it
 * @property {boolean} isWaitedFor the room waits for it
 * @property {boolean} hasFailed what it has nothing because of is no slow line
 */

export class Hunger {
  /** @type {number | null} since when the player has had nothing to show */
  #hungrySince = null;
  #isStarving = false;
  /** @type {number | null} since when a player that the room waits for could go on */
  #fedSince = null;
  #fedAt = -Infinity;
  #patienceMs = 0;
  /** How often it has run dry, each time shortly after the time before, and when the last time was. */
  #dries = 0;
  #driedAt = -Infinity;

  get isStarving() { return this.#isStarving; }

  /**
   * Whether it runs dry again and again, without having failed: its line is slower than it needs.
   * @param {number} nowMs
   */
  isSlow(nowMs) { return this.#dries > 1 && nowMs - this.#driedAt < STARVES_AGAIN_MS; }

  /**
   * To be called some ten times a second. Answers what has just become so.
   * @param {number} nowMs
   * @param {Sight} sight
   * @returns {"starving" | "fed" | null}
   */
  look(nowMs, { isHungry, isExpected, isEnough, isWaitedFor, hasFailed }) {
    if (hasFailed) this.#dries = 0;
    if (isHungry) {
      this.#fedSince = null;
      if (!this.#isStarving && isExpected) this.#hungrySince = null;
      else this.#hungrySince ??= nowMs;
      if (this.#isStarving || this.#hungrySince === null || nowMs - this.#hungrySince < STARVING_MS) return null;
      this.#starve(nowMs);
      return "starving";
    }
    this.#hungrySince = null;
    if (!this.#isStarving) return null;
    // The room goes on when this player is where it waits, with enough to stay there: never a saw-tooth.
    if (isWaitedFor) {
      if (!isEnough) return null;
      this.#fedSince ??= nowMs;
      if (nowMs - this.#fedSince < this.#patienceMs) return null;
    }
    this.#fedSince = null;
    this.#fedAt = nowMs;
    this.#isStarving = false;
    return "fed";
  }

  /** @param {number} nowMs */
  #starve(nowMs) {
    const isAgain = nowMs - this.#fedAt < STARVES_AGAIN_MS;
    this.#patienceMs = isAgain ? Math.min(Math.max(PATIENCE_MS, this.#patienceMs * 2), MAX_PATIENCE_MS) : 0;
    this.#isStarving = true;
    this.#dries = nowMs - this.#driedAt < STARVES_AGAIN_MS ? this.#dries + 1 : 1;
    this.#driedAt = nowMs;
  }
}
