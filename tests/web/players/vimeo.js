// A stand-in for Vimeo's embed player: objects both ways. Every call is answered exactly once, in order: with its value,
// or with an error that names the method. Events go to those who asked for them by name. Setting the time of a video that
// has not begun begins it, as its documentation says.

Object.assign(player, { duration: 61.857 });

const start = location.hash.match(/^#t=(\d+)s$/);
if (start) player.base = Number(start[1]);

const wanted = new Set();

const position = () => {
  const seconds = player.shownTime;
  return { seconds, percent: Number((seconds / player.duration).toFixed(3)), duration: player.duration };
};
const say = (event, data) => { if (wanted.has(event)) tell(data === undefined ? { event } : { event, data }); };

player.changed = (what) => {
  switch (what) {
    case "play": say("play", position()); break;
    case "playing":
      say("playing", position());
      settlePlays();
      break;
    case "pause": say("pause", position()); break;
    case "seeking":
      say("seeking", position());
      if (switches.seekMs) say("bufferstart");
      break;
    case "seeked":
      if (switches.seekMs) say("bufferend");
      say("timeupdate", position());
      say("seeked", position());
      settleSeeks();
      break;
    case "stall": say("bufferstart"); break;
    case "fed": say("bufferend"); break;
    case "rate": say("playbackratechange", { playbackRate: player.rate }); break;
    case "ended":
      say("pause", position());
      say("ended", position());
      break;
    case "timeupdate":
      say("timeupdate", position());
      say("progress", position());
      break;
  }
};

player.fail = (name) => say("error", { name, method: "play", message: WORDS[name] });

const WORDS = {
  NotAllowedError: "play() can only be initiated by a user gesture.",
  PasswordError: "The video requires a password before the user can play it.",
  PrivacyError: "The video is private.",
  RangeError: "The time is less than 0 or greater than the video's duration.",
  Error: "The owner of the video has not allowed another speed.",
};

player.shapes = (value) => [
  // A time that means nothing; an event that says something by its name alone would be no junk.
  { event: "timeupdate", data: value },
  { event: "timeupdate", data: { seconds: value, duration: value } },
  { event: "playbackratechange", data: { playbackRate: value } },
  { event: "volumechange", data: { volume: value, muted: value } },
  { event: "nonsense", data: { seconds: value } },
  { event: value, data: value },
  { method: value, value },
  { method: "getCurrentTime", value },
];

/** Calls whose answer comes with what they set going. */
let plays = [];
let seeks = [];
function settlePlays() {
  for (const answer of plays) answer();
  plays = [];
}
function settleSeeks() {
  for (const answer of seeks) answer(player.time);
  seeks = [];
}

class Failed {
  constructor(name) { this.name = name; }
}

const inRange = (seconds) => typeof seconds === "number" && seconds >= 0 && seconds <= player.duration;

/** Each answers its value, at once or by a promise, or a failure. */
const METHODS = {
  ping: () => undefined,
  addEventListener: (name) => { wanted.add(name); return name; },
  removeEventListener: (name) => { wanted.delete(name); return name; },
  getCurrentTime: () => player.time,
  getDuration: () => player.duration,
  getPaused: () => player.paused,
  getEnded: () => player.hasEnded,
  getPlaybackRate: () => player.rate,
  getVolume: () => player.volume,
  getMuted: () => player.isMuted,
  getVideoId: () => Number(location.pathname.split("/")[2]),
  getVideoTitle: () => "A film",
  getSeeking: () => Boolean(player.seeking),
  appendVideoMetadata: () => undefined,
  play: () => {
    if (switches.wantsClick) return new Failed("NotAllowedError");
    if (!player.paused && player.isMoving) return undefined;
    const answered = new Promise((resolve) => { plays.push(() => resolve(undefined)); });
    player.play();
    return answered;
  },
  pause: () => {
    player.pause();
    settlePlays();
    return undefined;
  },
  setCurrentTime: (seconds) => {
    if (!inRange(seconds)) return new Failed("RangeError");
    const isBegun = player.hasPlayed || !player.paused;
    const answered = new Promise((resolve) => { seeks.push(resolve); });
    player.seek(seconds);
    if (!isBegun && !switches.wantsClick) player.play();
    return answered;
  },
  setPlaybackRate: (rate) => {
    if (switches.isRateFixed) return new Failed("Error");
    if (!(rate >= 0.5 && rate <= 2)) return new Failed("RangeError");
    player.setRate(rate);
    return rate;
  },
  setVolume: (volume) => {
    player.volume = volume;
    say("volumechange", { volume, muted: player.isMuted });
    return volume;
  },
  setMuted: (isMuted) => {
    player.isMuted = isMuted;
    say("volumechange", { volume: player.volume, muted: isMuted });
    return isMuted;
  },
};

/** The answers to one method go out in the order of its calls. */
const lines = new Map();

function answer(method, result) {
  const before = lines.get(method) ?? Promise.resolve();
  lines.set(method, before.then(async () => {
    const value = await result;
    // A failure is told to whoever called, listening for errors or not.
    if (value instanceof Failed) tell({ event: "error", data: { method, name: value.name, message: WORDS[value.name] } });
    else tell({ method, value });
  }));
}

addEventListener("message", async ({ data }) => {
  let message = data;
  if (typeof message === "string") {
    try {
      message = JSON.parse(message);
    } catch {
      return;
    }
  }
  const { method, value } = message ?? {};
  if (typeof method !== "string") return;
  await untilReady;
  if (switches.ignores.includes(method)) return;
  if (method === "ping") {
    answer(method, undefined);
    return;
  }
  player.told.push([method, value]);
  obey(() => {
    if (!(method in METHODS)) answer(method, new Failed("TypeError"));
    else answer(method, METHODS[method](value));
  });
});

untilReady.then(() => {
  tell({ event: "ready" });
  if (query.get("autoplay") === "1" && !switches.wantsClick) setTimeout(() => player.play(), 50);
});
