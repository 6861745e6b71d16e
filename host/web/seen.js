// What somebody who presses a button has seen. Pure: every moment is an argument, in milliseconds.

/** Seeing takes a quarter of a second, and a hand some more: nobody has answered what has been shown for less. */
export const SEEN_MS = 300;

/** @typedef {{ isPlaying: boolean, hasEnded: boolean }} Shown what a press would change: it pauses what plays */

/**
 * A button that says what it would do changes its meaning under the hand when somebody else gives an order: of two hosts
 * who both press Play, the later one would pause. A press means what its button said when it was decided on.
 */
export class Seen {
  /** @type {Shown} */
  #now = { isPlaying: false, hasEnded: false };
  /** @type {Shown} */
  #before = this.#now;
  #changedAt = -Infinity;

  /**
   * This is shown from now on.
   * @param {Shown} shown
   * @param {number} nowMs
   * @param {boolean} isExpected whether it is what the person asked for: they know it before they see it
   */
  show({ isPlaying, hasEnded }, nowMs, isExpected) {
    if (isPlaying === this.#now.isPlaying && hasEnded === this.#now.hasEnded) return;
    this.#before = this.at(nowMs);
    this.#now = { isPlaying, hasEnded };
    this.#changedAt = isExpected ? -Infinity : nowMs;
  }

  /** The person has pressed: what is shown since is known to them. */
  pressed() {
    this.#changedAt = -Infinity;
  }

  /**
   * What a press at this moment is about.
   * @param {number} nowMs
   * @returns {Shown}
   */
  at(nowMs) {
    return nowMs - this.#changedAt < SEEN_MS ? this.#before : this.#now;
  }

  /**
   * Whether a press at this moment wants what has just become so anyway.
   * @param {number} nowMs
   */
  isOvertaken(nowMs) {
    return this.at(nowMs).isPlaying !== this.#now.isPlaying;
  }
}
