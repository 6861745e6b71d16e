// Whether the line to the server is alive, and when to try again. Pure: every moment is an argument, in milliseconds.
//
// A socket can be dead and look open for minutes: a laptop that changed its network, a balancer that forgot the
// connection. The server says something at least every `ping_secs`, but a browser does not show pings to its pages: what
// the page hears is STATE and PONG. Who hears nothing asks, and who gets no answer opens another.

/** Silence of so many intervals is asked about. */
const SILENT_INTERVALS = 1.5;

/** Silence of so long is, however rarely the server speaks by itself: who misses an order is not in sync. */
const SILENCE_MS = 5000;

/** A question that has no answer for so long has none. */
export const ANSWER_MS = 2000;

/** Pauses between tries. Jitter is added: a node that went down sends everyone here at once. */
const RETRY_MS = [300, 1000, 2000, 5000, 10_000];

export class Line {
  #silenceMs = SILENCE_MS;
  #heardAt = 0;
  /** @type {number | null} */
  #askedAt = null;
  /** The page itself may have been held up: what is overdue has to be so at two looks. */
  #wasOverdue = false;
  #tries = 0;

  /**
   * A socket has opened and been welcomed.
   * @param {number} nowMs
   * @param {number | undefined} pingSecs
   */
  opened(nowMs, pingSecs) {
    this.#silenceMs = pingSecs && pingSecs > 0 ? Math.min(pingSecs * 1000 * SILENT_INTERVALS, SILENCE_MS) : SILENCE_MS;
    this.#tries = 0;
    this.heard(nowMs);
  }

  /** @param {number} nowMs */
  heard(nowMs) {
    this.#heardAt = nowMs;
    this.#askedAt = null;
    this.#wasOverdue = false;
  }

  /**
   * Something was sent that will be answered.
   * @param {number} nowMs
   */
  asked(nowMs) {
    this.#askedAt ??= nowMs;
  }

  /**
   * To be called a few times a second.
   * @param {number} nowMs
   * @returns {"fine" | "ask" | "dead"}
   */
  look(nowMs) {
    if (this.#askedAt === null) return nowMs - this.#heardAt > this.#silenceMs ? "ask" : "fine";
    if (nowMs - this.#askedAt <= ANSWER_MS) return "fine";
    const isDead = this.#wasOverdue;
    this.#wasOverdue = true;
    return isDead ? "dead" : "fine";
  }

  /**
   * How long to wait before the next try.
   * @param {number} share a random number, 0 to 1
   */
  retryMs(share) {
    const wait = RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)];
    this.#tries += 1;
    return wait * (0.5 + share);
  }
}
