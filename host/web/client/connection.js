// The socket to a room: says HELLO, keeps the server's clock, notices a dead line, comes back by itself, and drops what is
// not newer than what it has.
import { BURST, BURST_EVERY_MS, ServerClock, StepWatch } from "./clock.js";
import { Line } from "./line.js";

/** The version of the wire this speaks; WELCOME says the server's. */
export const PROTOCOL = 1;

/** How often the line and the clocks are looked at. */
const LOOK_MS = 250;

/** A handshake may take this long: a slow line needs several round trips for it. */
const CONNECT_MS = 10_000;

/** While one is under way the line is asked beside it: whether it is dead, and when it is not any more. */
const PROBE_EVERY_MS = 1000;
const PROBE_MS = 2000;

/** Too many messages; before WELCOME, too many wrong keys. */
const TOO_FAST = 4429;
const TOO_MUCH = {
  orders: "These were too many orders at once; the line is opened anew.",
  keys: "Too many wrong keys came from your address; trying again in a moment.",
};

/** Codes after which coming back makes no sense. */
const FINAL = new Map([
  [4401, "wrong_key"],
  [4404, "gone"],
  [4410, "closed"],
]);

/**
 * @typedef {import("./timeline.js").Playback} Playback
 * @typedef {{ provider: string, media_type: "movie" | "tv", external_id: string, season: number | null, episode: number | null }} Source
 * @typedef {{ version: number, source: Source, playback: Playback }} Seen
 * @typedef {object} State the whole truth about a room; each supersedes all before it
 * @property {number} version
 * @property {{ title: string | null, source: Source }} room
 * @property {Playback} playback
 * @property {{ viewers: number, host: "connected" | "away", host_away_until_ms: number | null }} presence
 */

/**
 * Events (`detail`):
 * - `status` ("connecting" | "connected" | "lost"): the line.
 * - `welcome` (the WELCOME): who one is.
 * - `state` (the newest STATE).
 * - `refused` (the ERROR): the server does not take this HELLO; say another with `open(…)`.
 * - `full` (the ERROR): the room has no place at the moment; it is tried again.
 * - `error` (an ERROR) about one's own message.
 * - `doubt`: the machine slept or its clock was set, or the server's was measured anew; `now()` is not to be acted on for a moment.
 * - `unheard`: an order was sent into a dead line; nobody knows whether it arrived.
 * - `closed` ("closed_by_host" | "host_gone" | "closed" | "gone" | "wrong_key"): the end, for good.
 */
export class Connection extends EventTarget {
  #base;
  #code;
  /** @type {{ name?: string, key?: string, was?: string }} */
  #hello;
  /** @type {WebSocket | null} */
  #socket = null;
  #clock = new ServerClock();
  #line = new Line();
  #steps = new StepWatch();
  /** @type {ReturnType<typeof setInterval> | null} */
  #looking = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #retrying = null;
  #connectingSince = 0;
  #isProbing = false;
  #probedAt = -Infinity;
  /** Whether the line did not answer when it was last asked. */
  #isDead = false;
  #isWelcome = false;
  #isOver = false;
  #isAway = false;
  /** @type {string | null} */
  #pass = null;
  /** @type {State | null} */
  #state = null;
  /** What was seen before this connection was made. @type {Seen | null} */
  #kept;
  #version = -Infinity;
  /** Orders since something was last heard. */
  #unheardOrders = 0;
  /** The burst of PINGs under way. @type {import("./clock.js").Sample[] | null} */
  #burst = null;
  #burstAt = -Infinity;
  #pingSentMs = 0;
  /** This page's clock may have stood still: what `now()` says is not to be acted on until there is an answer. */
  #isDoubtful = false;

  /**
   * @param {string} code the room's
   * @param {object} [options]
   * @param {string} [options.name] what others see
   * @param {string | null} [options.key] the host's
   * @param {Seen | null} [options.seen] what `seen` was in this room when it was kept: a page that was loaded anew, or comes
   *   back later, brings back what a server that was started anew has forgotten
   * @param {string} [options.base] where the server is, like `https://example.org/watch`; the place this module came from
   *   if absent
   */
  constructor(code, { name, key, seen = null, base = new URL("..", import.meta.url).href } = {}) {
    super();
    this.#code = code;
    this.#hello = { name: name || undefined, key: key || undefined };
    this.#kept = seen;
    this.#base = new URL(base.endsWith("/") ? base : `${base}/`, location.href);
  }

  /** The newest STATE. */
  get state() { return this.#state; }

  /**
   * What was seen last: from a host it brings back a room that its live store has forgotten. To be kept for the next page.
   * @returns {Seen | null}
   */
  get seen() {
    if (!this.#state) return this.#kept;
    const { version, room: { source }, playback } = this.#state;
    return { version, source, playback };
  }

  /** Whether orders can be sent at this moment, as far as is known. */
  get isOpen() { return this.#isWelcome && this.#socket?.readyState === WebSocket.OPEN; }

  /** What shows over REST that one is in the room (`Authorization: Bearer`); null before WELCOME. */
  get pass() { return this.#pass; }

  /** The server's clock at this moment, in milliseconds. */
  now() { return this.#clock.at(localMs()); }

  /** The estimate behind `now()`. */
  get clock() { return this.#clock; }

  /** Connects, and stays connected until `close()` or the room's end. */
  open() {
    if (this.#socket || this.#isOver) return;
    if (!this.#looking) {
      this.#looking = setInterval(() => this.#look(), LOOK_MS);
      for (const [target, type, listener] of this.#wakeUps()) target.addEventListener(type, listener);
    }
    this.#emit("status", "connecting");
    const url = new URL(`ws/v1/rooms/${encodeURIComponent(this.#code)}`, this.#base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#connectingSince = localMs();
    const isCurrent = () => socket === this.#socket;
    socket.addEventListener("open", () => {
      if (!isCurrent()) return;
      this.#line.heard(localMs());
      this.#say({ type: "HELLO", ...this.#hello, seen: this.#hello.key ? this.seen ?? undefined : undefined });
      this.#line.asked(localMs());
    });
    socket.addEventListener("message", ({ data }) => isCurrent() && this.#hear(data, localMs()));
    socket.addEventListener("close", ({ code }) => isCurrent() && this.#ended(code));
  }

  /**
   * Gives an order (`PLAY`, `PAUSE`, `SEEK`) or says something else, if there is somebody to hear it: what is said while
   * the line is down is not said later. Answers whether it was sent.
   * @param {{ type: string } & Record<string, unknown>} message
   */
  send(message) {
    if (!this.isOpen) return false;
    const about = this.#state ? { version: this.#state.version } : {};
    this.#say({ ...about, ...message });
    if (message.type !== "PROGRESS") {
      this.#unheardOrders += 1;
      // An order that changes nothing has no answer: this has.
      this.#ping();
    }
    return true;
  }

  /** Leaves the room for good. */
  close() {
    this.#isOver = true;
    this.#stop();
  }

  // ---- What is heard -----------------------------------------------------------------------------------------------

  /**
   * @param {string} data
   * @param {number} atMs
   */
  #hear(data, atMs) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    this.#line.heard(atMs);
    switch (message.type) {
      case "WELCOME":
        this.#isWelcome = true;
        this.#pass = message.pass ?? null;
        // On the next line: the server may not know yet that this one is dead.
        this.#hello.was = message.you.id;
        // A store that was emptied under a clock that was set back counts from there.
        if (message.server_ms < this.#version) this.#version = -Infinity;
        this.#clock.guess(message.server_ms, atMs);
        this.#line.opened(atMs, message.ping_secs);
        this.#startBurst();
        this.#emit("status", "connected");
        this.#emit("welcome", message);
        break;
      case "STATE":
        this.#unheardOrders = 0;
        if (message.version <= this.#version) break;
        this.#version = message.version;
        this.#state = this.#asRemembered(message);
        this.#emit("state", this.#state);
        break;
      case "PONG":
        this.#unheardOrders = 0;
        this.#answered(message, atMs);
        break;
      case "CLOSED":
        this.#over(message.reason);
        break;
      case "ERROR":
        this.#unheardOrders = 0;
        if (this.#isWelcome) {
          this.#emit("error", message);
        } else if (message.code === "bad_message") {
          this.#isOver = true;
          this.#stop();
          this.#emit("refused", message);
        } else if (message.code === "room_full") {
          this.#emit("full", message);
        }
        break;
    }
  }

  /**
   * A store that was started anew says where the video begins, not where the room is. What was seen of it goes on, until a
   * host is back: they tell, or know no better.
   * @param {State} state
   * @returns {State}
   */
  #asRemembered(state) {
    const { seen } = this;
    const isSameSource = JSON.stringify(seen?.source) === JSON.stringify(state.room.source);
    const isUnknown = state.playback.is_initial && state.presence.host === "away";
    if (!seen || !isSameSource || !isUnknown) return state;
    return { ...state, playback: seen.playback };
  }

  /** @param {number} code */
  #ended(code) {
    const wasWelcome = this.#isWelcome;
    this.#socket = null;
    this.#isWelcome = false;
    this.#burst = null;
    if (this.#isOver) return;
    const reason = FINAL.get(code);
    if (reason) {
      this.#over(reason);
      return;
    }
    this.#reportUnheard();
    if (code === TOO_FAST) this.#emit("error", { code: "too_fast", message: TOO_MUCH[wasWelcome ? "orders" : "keys"] });
    this.#emit("status", "lost");
    if (!this.#isAway) this.#retry();
  }

  #retry() {
    if (this.#retrying) clearTimeout(this.#retrying);
    this.#retrying = setTimeout(() => this.#comeBack(), this.#line.retryMs(Math.random()));
  }

  #comeBack() {
    this.#retrying = null;
    if (this.#isAway || this.#isOver) return;
    this.open();
    this.#probe();
  }

  /**
   * Asks for the room, beside a socket that does not come. One that was closed meanwhile answers the upgrade with 404, which a
   * browser does not show; and where a line was dead and is not any more, what was sent into it is lost: nobody waits for that.
   */
  async #probe() {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const socket = this.#socket;
    const url = new URL(`api/v1/rooms/${encodeURIComponent(this.#code)}`, this.#base);
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_MS) });
      const isLost = this.#isDead && socket === this.#socket && socket?.readyState === WebSocket.CONNECTING;
      this.#isDead = false;
      if (response.status === 404) {
        this.#over("gone");
      } else if (isLost) {
        this.#drop();
        this.open();
      }
    } catch (error) {
      // A server that is not there says so at once: the socket finds out the same.
      this.#isDead = error instanceof DOMException;
    }
    this.#isProbing = false;
    this.#probedAt = localMs();
  }

  /** @param {string} reason */
  #over(reason) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stop();
    this.#emit("closed", reason);
  }

  #stop() {
    this.#drop();
    if (this.#retrying) clearTimeout(this.#retrying);
    if (this.#looking) clearInterval(this.#looking);
    this.#looking = null;
    for (const [target, type, listener] of this.#wakeUps()) target.removeEventListener(type, listener);
  }

  /** The socket is of no use any more. Its end is not waited for: on a dead line it never comes. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#isWelcome = false;
    this.#burst = null;
    socket?.close();
  }

  // ---- The line ----------------------------------------------------------------------------------------------------

  #look() {
    if (this.#isAway) return;
    const nowMs = localMs();
    if (this.#steps.hasStepped(Date.now(), nowMs)) {
      this.#isDoubtful = true;
      this.#emit("doubt", undefined);
      this.#ask();
    }
    if (!this.#socket) return;
    if (this.#socket.readyState === WebSocket.CONNECTING) {
      if (nowMs - this.#connectingSince > CONNECT_MS) this.#lost();
      else if (nowMs - Math.max(this.#probedAt, this.#connectingSince) > PROBE_EVERY_MS) this.#probe();
      return;
    }
    switch (this.#line.look(nowMs)) {
      case "ask":
        this.#ping();
        break;
      case "dead":
        this.#lost();
        break;
      case "fine":
        if (this.isOpen && nowMs - this.#burstAt > BURST_EVERY_MS) this.#startBurst();
        break;
    }
  }

  /** The line is dead. One that was alive is opened anew at once, one that never was after a pause. */
  #lost() {
    const wasAlive = this.#isWelcome;
    this.#drop();
    this.#reportUnheard();
    this.#emit("status", "lost");
    if (wasAlive) this.open();
    else this.#retry();
  }

  /** Something may have happened to the line or the clocks: find out now. */
  #ask() {
    if (this.#isAway || this.#isOver) return;
    if (this.isOpen) {
      this.#startBurst();
    } else if (!this.#socket && this.#looking) {
      if (this.#retrying) clearTimeout(this.#retrying);
      this.#comeBack();
    }
  }

  /** A page in the back-forward cache is not in the room. */
  #leave() {
    this.#isAway = true;
    this.#drop();
    this.#emit("status", "lost");
  }

  #comeHome() {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#comeBack();
  }

  #reportUnheard() {
    if (this.#unheardOrders > 0) this.#emit("unheard", this.#unheardOrders);
    this.#unheardOrders = 0;
  }

  #onWake = () => { if (document.visibilityState === "visible") this.#ask(); };
  #onOnline = () => this.#ask();
  #onHide = () => this.#leave();
  #onShow = () => this.#comeHome();

  /** @returns {[EventTarget, string, () => void][]} */
  #wakeUps() {
    return [
      [document, "visibilitychange", this.#onWake],
      [window, "online", this.#onOnline],
      [window, "pagehide", this.#onHide],
      [window, "pageshow", this.#onShow],
    ];
  }

  // ---- The clock ---------------------------------------------------------------------------------------------------

  #startBurst() {
    this.#burstAt = localMs();
    this.#burst = [];
    this.#ping();
  }

  #ping() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#pingSentMs = localMs();
    this.#line.asked(this.#pingSentMs);
    this.#say({ type: "PING", client_ms: Math.round(this.#pingSentMs) });
  }

  /**
   * @param {{ client_ms: number, server_ms: number }} pong
   * @param {number} receivedMs
   */
  #answered({ client_ms, server_ms }, receivedMs) {
    const burst = this.#burst;
    // An answer to an earlier question would be counted against the wrong moment.
    if (!burst || client_ms !== Math.round(this.#pingSentMs)) return;
    burst.push({ sentMs: this.#pingSentMs, serverMs: server_ms, receivedMs });
    // The first answer says more than no measurement, or one before a step; a burst over a slow line takes seconds.
    if (this.#isDoubtful || !this.#clock.isSure) {
      this.#isDoubtful = false;
      this.#clock.measure(burst);
      this.#emit("doubt", undefined);
    }
    if (burst.length < BURST) {
      this.#ping();
      return;
    }
    this.#burst = null;
    this.#clock.measure(burst);
  }

  // ------------------------------------------------------------------------------------------------------------------

  /** @param {Record<string, unknown>} message */
  #say(message) {
    this.#socket?.send(JSON.stringify(message));
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** This page's clock, in milliseconds: it only runs forward, whatever happens to the machine's. */
export const localMs = () => performance.timeOrigin + performance.now();
