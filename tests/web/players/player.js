// What every stand-in has inside: a position that runs, the switches of its scene, and the hands of a person. Each
// provider's file gives it a voice: it overrides `changed`, and listens to the page.
//
// `player.play()`, `pause()`, `seek(s)`, `setRate(r)` are a person's clicks in the frame. `stall`, `feed`, `advertise`,
// `resume`, `fail`, `flood` are what happens to a player by itself.

const query = new URLSearchParams(location.search);

/** The scene's switches, for every frame it puts up (`SCENE`, from its server) or for one (`?standin=`, from its page). */
const switches = {
  /** What the page tells it is done so late. */
  delayMs: 0,
  /** What it says arrives so late. */
  lagMs: 0,
  /** So long it loads before it hears or says anything. */
  readyMs: 0,
  /** From playing to the first picture. */
  startMs: 0,
  /** A seek takes so long. */
  seekMs: 0,
  /** The first position it reports is 0, wherever it is. */
  saysZeroFirst: false,
  /** What it says of its position is of so long ago, and its stamp says so (where there is one). */
  stampAgeMs: 0,
  /** It wants a person's click before it plays. */
  wantsClick: false,
  /** It never says anything. */
  isSilent: false,
  /** Of these calls it does nothing and says nothing. */
  ignores: [],
  /** Its owner allows no other speed. */
  isRateFixed: false,
  ...globalThis.SCENE,
  ...JSON.parse(query.get("standin") ?? "{}"),
};

const player = {
  base: 0,
  since: null,
  paused: true,
  rate: 1,
  duration: Infinity,
  hasPlayed: false,
  hasEnded: false,
  isMuted: false,
  volume: 1,
  /** Why it does not move although it plays: "starting", "seeking", "stall", "advert". */
  obstacles: new Set(),
  advert: null,
  /** What it was told so far, by whom it was told. */
  told: [],
  /** Says to the page what is new. Each stand-in has its own way. */
  changed: () => {},

  get isMoving() { return !this.paused && this.obstacles.size === 0; },
  get time() {
    const ran = this.since === null ? 0 : ((performance.now() - this.since) / 1000) * this.rate;
    return Math.min(this.duration, this.base + ran);
  },
  /** What it says where it is. */
  get shownTime() {
    if (switches.saysZeroFirst && !this.hasSaidZero) {
      this.hasSaidZero = true;
      return 0;
    }
    return this.time;
  },

  play() {
    if (!this.paused) return;
    this.hasEnded = false;
    move(() => {
      this.paused = false;
      if (switches.startMs && !this.hasPlayed) this.obstacles.add("starting");
    });
    this.changed("play");
    const started = () => {
      this.hasPlayed = true;
      move(() => this.obstacles.delete("starting"));
      if (!this.paused) this.changed("playing");
    };
    if (this.obstacles.has("starting")) setTimeout(started, switches.startMs);
    else started();
  },

  pause() {
    if (this.paused) return;
    move(() => { this.paused = true; });
    this.changed("pause");
  },

  seek(seconds) {
    const target = Math.max(0, Math.min(this.duration, seconds));
    const seek = Symbol("seek");
    this.seeking = seek;
    this.hasEnded = false;
    move(() => {
      this.base = target;
      if (switches.seekMs) this.obstacles.add("seeking");
    });
    this.changed("seeking");
    const arrived = () => {
      if (this.seeking !== seek) return;
      this.seeking = null;
      move(() => this.obstacles.delete("seeking"));
      this.changed("seeked");
    };
    if (switches.seekMs) setTimeout(arrived, switches.seekMs);
    else arrived();
  },

  setRate(rate) {
    move(() => { this.rate = rate; });
    this.changed("rate");
  },

  stall() {
    move(() => this.obstacles.add("stall"));
    this.changed("stall");
  },

  feed() {
    move(() => this.obstacles.delete("stall"));
    this.changed("fed");
  },

  /** Something else is shown. How a player tells is in its own file. */
  advertise(form) {
    this.advert = { form, fromMs: performance.now() };
    move(() => this.obstacles.add("advert"));
    this.changed("advert");
  },

  resume() {
    this.advert = null;
    move(() => this.obstacles.delete("advert"));
    this.changed("resumed");
  },

  setDuration(seconds) {
    this.duration = seconds;
    this.changed("duration");
  },

  /** Takes a switch while it runs. */
  set(changes) {
    Object.assign(switches, changes);
  },

  end() {
    move(() => {
      this.base = this.duration;
      this.paused = true;
      this.hasEnded = true;
    });
    this.changed("ended");
  },
};

/** Whatever changes how it runs goes through here. */
function move(change) {
  player.base = player.time;
  player.since = null;
  change();
  if (player.isMoving) player.since = performance.now();
}

function later(ms, run) {
  if (ms) setTimeout(run, ms);
  else run();
}

/** Orders that it has been told and has not done. */
let underWay = 0;

/** Does what the page told it, in the order in which it was told. */
function obey(run) {
  underWay += 1;
  later(switches.delayMs, () => {
    underWay -= 1;
    run();
  });
}

/** Says something to the page. */
function tell(message, origin = "*") {
  if (switches.isSilent) return;
  later(switches.lagMs, () => parent.postMessage(message, origin));
}

const untilReady = new Promise((resolve) => { setTimeout(resolve, switches.readyMs); });

setInterval(() => { if (player.isMoving || player.advert) player.changed("timeupdate"); }, 250);
setInterval(() => { if (player.isMoving && player.time >= player.duration) player.end(); }, 50);

// ---- What nobody documents -----------------------------------------------------------------------------------------

const JUNK = [
  NaN, Infinity, -Infinity, -1, -1e308, 1e308, "", "12", "nonsense", null, undefined, true, [], [[]], {},
  { value: {} }, () => [Array(1000).fill("x")],
];

function deep(levels) {
  let value = "deep";
  for (let n = 0; n < levels; n += 1) value = n % 2 ? { info: value } : { data: value };
  return value;
}

/** Says so many things that mean nothing: `shapes(value)` puts a value where a message has one. */
player.flood = (count) => {
  const plain = [
    "", "{", "null", "[]", "1e999", "{\"event\":", "undefined", null, 0, NaN, true, undefined, [], [1], new Date(0),
    new ArrayBuffer(8), new Map([["event", "play"]]), "x".repeat(10_000), deep(50), JSON.stringify(deep(50)),
  ];
  for (let n = 0; n < count; n += 1) {
    let value = JUNK[n % JUNK.length];
    if (typeof value === "function") value = value();
    if (n % 97 === 0) value = deep(30);
    const shapes = player.shapes(value);
    const all = [...plain, ...shapes, ...shapes, ...shapes];
    parent.postMessage(all[(n * 7) % all.length], "*");
  }
};

player.say = (message) => parent.postMessage(message, "*");

// ---- The page's hands ----------------------------------------------------------------------------------------------

const own = {
  state: () => ({ time: player.time, paused: player.paused, rate: player.rate, isMoving: player.isMoving, told: player.told }),
  /** Everything that was under way has been done and said, and a report has gone out since. */
  idle: async () => {
    do {
      await new Promise((resolve) => { setTimeout(resolve, 300); });
    } while (underWay > 0 || player.seeking || player.obstacles.has("starting"));
    await new Promise((resolve) => { setTimeout(resolve, switches.lagMs); });
  },
};

addEventListener("message", (event) => {
  if (event.data?.standin !== "hands") return;
  event.stopImmediatePropagation();
  const [port] = event.ports;
  port.onmessage = async ({ data: { id, name, args } }) => {
    const value = await (own[name] ?? player[name].bind(player))(...args);
    port.postMessage({ id, value: value ?? null });
  };
  port.postMessage({ id: 0 });
});
