// The server's clock as seen from here. Pure: every moment is an argument, in milliseconds on a clock of this page that
// only runs forward (`performance.timeOrigin + performance.now()`).
//
// On TCP the delays of neighbouring messages go together, so one quick answer of a burst says more than the mean of many
// spaced ones. Each burst gives one measurement, the quickest; a filter over two quantities (offset and drift) joins the
// bursts, as sendspin's time filter does, which reports errors five to nine times below half the round trip.

/** PINGs of a burst, each sent when the last was answered. */
export const BURST = 8;

/** A new burst after this. Two oscillators part by at most 3 ms in it. */
export const BURST_EVERY_MS = 30_000;

/** `Date` and the monotonic clock part by more only if the machine slept or somebody set its clock. */
export const STEP_MS = 50;

/** The server tells whole milliseconds: half of one on average, and this much uncertain. */
const RESOLUTION_MS = 0.5;

/** Two crystals run apart by at most this (100 ppm); below a fifth of it a drift is not told from noise. */
const MAX_DRIFT = 1e-4;

/** How fast uncertainty grows: offset by what a scheduler adds, drift by temperature. Variances per millisecond. */
const OFFSET_NOISE = 1e-5;
const DRIFT_NOISE = 1e-16;

/**
 * One answered PING.
 * @typedef {object} Sample
 * @property {number} sentMs on this page's clock
 * @property {number} serverMs what PONG said
 * @property {number} receivedMs on this page's clock
 */

export class ServerClock {
  #offset = 0;
  #drift = 0;
  /** When offset was true. */
  #atMs = 0;
  // The filter's covariance: offset, offset × drift, drift.
  #p00 = Infinity;
  #p01 = 0;
  #p11 = MAX_DRIFT ** 2;

  /**
   * Begins with what WELCOME says, if nothing is known: good to the time a message takes.
   * @param {number} serverMs
   * @param {number} localMs
   */
  guess(serverMs, localMs) {
    if (this.isSure) return;
    this.#offset = serverMs - localMs;
    this.#atMs = localMs;
  }

  /** Whether a burst has been measured. */
  get isSure() { return Number.isFinite(this.#p00); }

  /** How far the estimate may be off, in milliseconds (one standard deviation). */
  get errorMs() { return Math.sqrt(this.#p00); }

  /** How fast the server's clock runs away from this one: milliseconds per millisecond. */
  get drift() { return this.#drift; }

  /**
   * Takes in a burst.
   * @param {Sample[]} samples
   */
  measure(samples) {
    if (samples.length === 0) return;
    const best = samples.reduce((a, b) => (b.receivedMs - b.sentMs < a.receivedMs - a.sentMs ? b : a));
    const roundTrip = Math.max(0, best.receivedMs - best.sentMs);
    const atMs = best.sentMs + roundTrip / 2;
    const offset = best.serverMs + RESOLUTION_MS - atMs;
    // The truth lies within half a round trip; half of that is a fair deviation.
    const variance = (roundTrip / 4) ** 2 + RESOLUTION_MS ** 2;
    if (!this.isSure) {
      this.#begin(offset, atMs, variance);
      return;
    }
    this.#predict(atMs);
    const miss = offset - this.#offset;
    // Further off than the round trip allows and than the estimate may be: one of the two clocks was set, or slept.
    if (Math.abs(miss) > roundTrip / 2 + RESOLUTION_MS + 4 * this.errorMs) {
      this.#begin(offset, atMs, variance);
      return;
    }
    const spread = this.#p00 + variance;
    const gain0 = this.#p00 / spread;
    const gain1 = this.#p01 / spread;
    this.#offset += gain0 * miss;
    this.#drift = Math.max(-MAX_DRIFT, Math.min(MAX_DRIFT, this.#drift + gain1 * miss));
    this.#p11 -= gain1 * this.#p01;
    this.#p01 *= 1 - gain0;
    this.#p00 *= 1 - gain0;
  }

  /**
   * The server's clock at a moment of this page's.
   * @param {number} localMs
   */
  at(localMs) {
    return localMs + this.#offset + this.#usableDrift() * (localMs - this.#atMs);
  }

  /**
   * @param {number} offset
   * @param {number} atMs
   * @param {number} variance
   */
  #begin(offset, atMs, variance) {
    this.#offset = offset;
    this.#atMs = atMs;
    this.#drift = 0;
    this.#p00 = variance;
    this.#p01 = 0;
    this.#p11 = MAX_DRIFT ** 2;
  }

  /** @param {number} atMs */
  #predict(atMs) {
    const passed = Math.max(0, atMs - this.#atMs);
    this.#offset += this.#usableDrift() * passed;
    this.#p00 += passed * (2 * this.#p01 + passed * this.#p11) + OFFSET_NOISE * passed;
    this.#p01 += passed * this.#p11;
    this.#p11 = Math.min(this.#p11 + DRIFT_NOISE * passed, MAX_DRIFT ** 2);
    this.#atMs = atMs;
  }

  /** A drift that is not larger than its own uncertainty would only add noise between two bursts. */
  #usableDrift() {
    return this.#drift ** 2 > 4 * this.#p11 ? this.#drift : 0;
  }
}

/**
 * Notices that the machine slept, or that somebody set its clock: the page's own clock may have stood still meanwhile.
 */
export class StepWatch {
  /** @type {number | null} */
  #apart = null;

  /**
   * Whether the two clocks have parted since the last look.
   * @param {number} dateMs `Date.now()`
   * @param {number} localMs
   */
  hasStepped(dateMs, localMs) {
    const apart = dateMs - localMs;
    const moved = this.#apart === null ? 0 : Math.abs(apart - this.#apart);
    if (this.#apart === null || moved > STEP_MS) this.#apart = apart;
    return moved > STEP_MS;
  }
}
