// What a player was told, matched with what it answers. Pure: every moment is an argument, in milliseconds.
//
// A player repeats what it was told as events: a `play` after play(), a `seeked` after seek(). Those are the page's own
// doing; anything else is the person's. They are told apart by the order, not by a span of time: a seek that takes five
// seconds is still ours.

/** An order that nothing has answered for so long is not answered any more. */
export const FORGOTTEN_MS = 60_000;

/** @typedef {"play" | "pause" | "seek"} Kind */

export class Orders {
  /** @type {{ kind: Kind, atMs: number }[]} */
  #open = [];

  /**
   * The player has been told so.
   * @param {Kind} kind
   * @param {number} nowMs
   */
  tell(kind, nowMs) {
    // Of two seeks a player may finish the later one only.
    if (kind === "seek") this.settle("seek");
    this.#open.push({ kind, atMs: nowMs });
  }

  /**
   * Whether an event answers an order. Orders before it that were overtaken are settled with it: a player that was told
   * to play and then to pause may only say that it paused.
   * @param {Kind} kind
   * @param {number} nowMs
   */
  isAnswer(kind, nowMs) {
    this.#forget(nowMs);
    // A seek says nothing about playing, nor the other way round.
    const isKin = (/** @type {{ kind: Kind }} */ order) => (order.kind === "seek") === (kind === "seek");
    const found = this.#open.findIndex((order) => order.kind === kind);
    if (found < 0) return false;
    this.#open = this.#open.filter((order, n) => n > found || !isKin(order));
    return true;
  }

  /**
   * Whether an order of this kind is on its way.
   * @param {Kind} kind
   * @param {number} nowMs
   */
  isOpen(kind, nowMs) {
    this.#forget(nowMs);
    return this.#open.some((order) => order.kind === kind);
  }

  /** The player refused, or has long been where it was told to be: nothing more is to be expected of it. */
  settle(/** @type {Kind} */ kind) {
    this.#open = this.#open.filter((order) => order.kind !== kind);
  }

  clear() {
    this.#open = [];
  }

  /** @param {number} nowMs */
  #forget(nowMs) {
    this.#open = this.#open.filter(({ atMs }) => nowMs - atMs < FORGOTTEN_MS);
  }
}
