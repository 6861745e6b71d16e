// One bridge, mounted before its provider's stand-in: what it is told, what it says, and the hands of a person inside.
import { Orders } from "/client/v1.js";

/** Nothing takes this long, unless it never happens. */
const PATIENCE_MS = 15_000;

const TYPES = ["ready", "play", "pause", "seeked", "timeupdate", "waiting", "ended", "error", "ratechange", "blocked", "volumechange"];

/** A case that went otherwise than it should. */
export class Otherwise extends Error {}

export function expect(isSo, words) {
  if (!isSo) throw new Otherwise(words);
}

export const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export async function until(isSo, words, withinMs = PATIENCE_MS) {
  const end = performance.now() + withinMs;
  while (!isSo()) {
    if (performance.now() > end) throw new Otherwise(`never: ${typeof words === "function" ? words() : words}`);
    await sleep(10);
  }
}

/** The `[player]` table of a manifest; its values are JSON as well as TOML. */
export async function playerTable(id) {
  const text = await (await fetch(`/plugins/${id}/provider.toml`)).text();
  const table = text.split("[player]\n")[1].split(/^\[/m)[0];
  const lines = table.split("\n").map((line) => line.replace(/(^|\s+)#.*$/, "")).filter(Boolean);
  return Object.fromEntries(lines.map((line) => [line.split(" = ")[0], JSON.parse(line.split(" = ")[1])]));
}

const CURRENT_TIME = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");

let mounted = 0;

export class Bench {
  events = [];
  #frame = null;
  #port = null;
  #asked = new Map();
  #nextId = 1;

  /** Puts up a player of this provider, with these switches of its stand-in. */
  static async mount(provider, { switches = {}, address = {}, options = {}, mounted: andThen = () => {} } = {}) {
    const bench = new Bench();
    mounted += 1;
    bench.provider = provider;
    bench.stage = document.createElement("div");
    bench.stage.className = "stage";
    document.body.append(bench.stage);
    // A copy of its own: what a bridge remembers for its page is no other case's.
    const { default: mount } = await import(`/plugins/${provider.id}/bridge.js?copy=${mounted}`);
    const url = new URL(provider.url, location.href);
    for (const [name, value] of Object.entries(address)) url.searchParams.set(name, value);
    if (Object.keys(switches).length) url.searchParams.set("standin", JSON.stringify(switches));
    bench.mountOptions = {
      url: url.href, startAt: 0, autoplay: false, params: {}, player: provider.player, interactive: true,
      assets: (name) => new URL(`/assets/${provider.id}/${name}`, location.href).href, ...options,
    };
    bench.player = mount(bench.stage, bench.mountOptions);
    for (const type of TYPES) {
      bench.player.addEventListener(type, ({ detail }) => {
        bench.events.push({ type, detail, seconds: bench.player.currentTime, atMs: performance.now() });
      });
    }
    andThen(bench);
    return bench;
  }

  /** What it said since `mark`, of these types. */
  said(...types) { return this.events.slice(this.from ?? 0).filter(({ type }) => types.includes(type)); }
  count(type) { return this.said(type).length; }
  mark() { this.from = this.events.length; }
  story() { return JSON.stringify(this.said(...TYPES.filter((type) => type !== "timeupdate" && type !== "volumechange")).map(({ type, seconds }) => `${type} at ${seconds.toFixed(2)}`)); }

  async ready() { await until(() => this.events.some(({ type }) => type === "ready"), "ready"); }

  /** It said exactly this since the mark, apart from its progress. */
  heard(wanted, what) {
    for (const type of ["ready", "play", "pause", "seeked", "ended", "error", "blocked", "ratechange"]) {
      const is = this.count(type);
      const should = wanted[type] ?? 0;
      expect(is === should, `${what}: ${is} × ${type} and not ${should}; it said ${this.story()}`);
    }
  }

  /** Up and playing. */
  async begin() {
    await this.ready();
    this.player.play().catch(() => {});
    await this.moves("after play()");
    await this.idle();
  }

  /** Its position goes on. */
  async moves(words, withinMs = PATIENCE_MS) {
    await until(() => !this.player.paused && !this.player.seeking && !this.player.stalled, () => `plays (${words}): paused ${this.player.paused}, seeking ${this.player.seeking}, stalled ${this.player.stalled}; it said ${this.story()}`, withinMs);
    const before = this.player.currentTime;
    await until(() => this.player.currentTime > before + 0.4, `moves (${words})`, withinMs);
  }

  /** What a person does in the frame, or happens to the player. */
  async do(name, ...args) {
    if (this.video) return this.#doInPage(name, ...args);
    await this.#reach();
    const id = this.#nextId++;
    const answered = new Promise((resolve) => { this.#asked.set(id, resolve); });
    this.#port.postMessage({ id, name, args });
    return answered;
  }

  get video() { return this.stage.querySelector("video"); }

  /** Everything that was under way has been done, said and heard. */
  async idle() {
    if (this.stage.querySelector("iframe") && !this.isAlone) await this.do("idle");
    else await until(() => !this.player.seeking, "arrives");
    await sleep(300);
  }

  #doInPage(name, ...args) {
    switch (name) {
      case "play": return this.video.play();
      case "pause": return this.video.pause();
      // A hand moves the element itself, whatever a bridge has put before it.
      case "seek": return CURRENT_TIME.set.call(this.video, args[0]);
      case "setRate": this.video.playbackRate = args[0]; return undefined;
      case "feed": return fetch(`/release/${this.hold}`);
      case "state": return { paused: this.video.paused, time: this.video.currentTime, isMoving: !this.video.paused };
    }
    throw new Error(`a file does not ${name}`);
  }

  /** The frame changes with each load: its hands are asked for until they answer. */
  async #reach() {
    const end = performance.now() + PATIENCE_MS;
    while (this.#frame === null || this.#frame !== this.stage.querySelector("iframe") || !this.#port) {
      expect(performance.now() < end, "the stand-in does not answer");
      const frame = this.stage.querySelector("iframe");
      if (!frame?.contentWindow) {
        await sleep(20);
        continue;
      }
      const { port1, port2 } = new MessageChannel();
      const answers = new Promise((resolve) => {
        port1.onmessage = ({ data: { id, value } }) => {
          if (id === 0) resolve(true);
          else this.#asked.get(id)?.(value);
        };
      });
      frame.contentWindow.postMessage({ standin: "hands" }, "*", [port2]);
      if (await Promise.race([answers, sleep(100)])) {
        this.#frame = frame;
        this.#port = port1;
      }
    }
  }

  close() {
    try {
      this.player.destroy();
    } finally {
      this.stage.remove();
    }
  }
}

/**
 * Tells a player, and sorts what it says as a page does (see `/client/follower.js`): an answer to an order, what the last
 * order says anyway, or the person's doing.
 */
export class Teller {
  /** What would be taken for the person's. */
  strays = [];
  #orders = new Orders();
  #bench;
  isPlaying = false;
  seconds = 0;

  constructor(bench) {
    this.#bench = bench;
    const { player } = bench;
    for (const [type, kind] of [["play", "play"], ["pause", "pause"], ["seeked", "seek"]]) {
      player.addEventListener(type, () => {
        if (this.#orders.isAnswer(kind, performance.now())) return;
        if (kind === "play" && this.isPlaying) return;
        if (kind === "pause" && !this.isPlaying) return;
        this.strays.push(`${type} at ${player.currentTime.toFixed(2)}`);
      });
    }
  }

  play() {
    this.isPlaying = true;
    this.#orders.tell("play", performance.now());
    this.#bench.player.play().catch(() => {});
  }

  pause() {
    this.isPlaying = false;
    this.#orders.tell("pause", performance.now());
    this.#bench.player.pause();
  }

  seek(seconds) {
    this.seconds = seconds;
    this.#orders.tell("seek", performance.now());
    this.#bench.player.seek(seconds);
  }
}
