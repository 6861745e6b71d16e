// The socket to a room: says HELLO, keeps the clock, comes back by itself, and drops what is not newer than what it has.

const PINGS_AT_START = 5;
const PING_GAP_MS = 200;
const PING_EVERY_MS = 30_000;
const RETRY_MS = [300, 1000, 2000, 5000, 10_000];

/** Codes after which coming back makes no sense. */
const FINAL = new Map([
  [4401, "wrong_key"],
  [4404, "gone"],
  [4410, "closed"],
]);

/**
 * Events: `welcome` (detail: the WELCOME), `state` (the newest STATE), `closed` (why, for good), `error` (an ERROR),
 * `status` ("connecting", "connected" or "lost").
 */
export class Connection extends EventTarget {
  #code;
  #name;
  #key;
  #clock;
  #socket = null;
  #attempt = 0;
  #timers = new Set();
  #isOver = false;
  #version = -Infinity;

  constructor(code, { name, key, clock }) {
    super();
    this.#code = code;
    this.#name = name;
    this.#key = key;
    this.#clock = clock;
  }

  open() {
    this.#emit("status", "connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/v1/rooms/${this.#code}`);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.send({ type: "HELLO", name: this.#name || undefined, key: this.#key || undefined });
    });
    socket.addEventListener("message", ({ data }) => this.#hear(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => this.#ended(code));
  }

  /** Sends if there is somebody to hear it: what is said while the line is down is not said later. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  close() {
    this.#isOver = true;
    this.#stopTimers();
    this.#socket?.close();
  }

  #hear(message) {
    switch (message.type) {
      case "WELCOME":
        this.#attempt = 0;
        this.#clock.guess(message.server_ms);
        this.#startPings();
        this.#emit("status", "connected");
        this.#emit("welcome", message);
        break;
      case "STATE":
        if (message.version <= this.#version) break;
        this.#version = message.version;
        this.#emit("state", message);
        break;
      case "PONG":
        this.#clock.sample(message.client_ms, message.server_ms, this.#clock.local());
        break;
      case "CLOSED":
        this.#over(message.reason);
        break;
      case "ERROR":
        this.#emit("error", message);
        break;
    }
  }

  #ended(code) {
    this.#stopTimers();
    if (this.#isOver) return;
    if (FINAL.has(code)) {
      this.#over(FINAL.get(code));
      return;
    }
    this.#emit("status", "lost");
    const wait = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)];
    this.#attempt += 1;
    // Jitter: a node that went down sends everyone here at once.
    this.#after(wait * (0.5 + Math.random()), () => this.#comeBack());
  }

  /** A room that was closed meanwhile answers the upgrade with 404, which a browser does not show. */
  async #comeBack() {
    try {
      const response = await fetch(`/api/v1/rooms/${this.#code}`);
      if (response.status === 404) {
        this.#over("gone");
        return;
      }
    } catch {
      // Not reachable: the socket will find out the same.
    }
    if (!this.#isOver) this.open();
  }

  #over(reason) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopTimers();
    this.#emit("closed", reason);
  }

  #startPings() {
    for (let n = 0; n < PINGS_AT_START; n += 1) this.#after(n * PING_GAP_MS, () => this.#ping());
    const every = setInterval(() => this.#ping(), PING_EVERY_MS);
    this.#timers.add(() => clearInterval(every));
  }

  #ping() {
    this.send({ type: "PING", client_ms: Math.round(this.#clock.local()) });
  }

  #after(ms, then) {
    const timer = setTimeout(then, ms);
    this.#timers.add(() => clearTimeout(timer));
  }

  #stopTimers() {
    for (const stop of this.#timers) stop();
    this.#timers.clear();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
