// Vimeo's own SDK drives our stand-in for its player: what the SDK does not understand, Vimeo's player would not say.
// The result is `window.report`, as in conformance.js.
import { Otherwise, expect, sleep, until } from "/bench.js";

const { Player } = window.Vimeo ?? {};

function frame(switches = {}) {
  const element = document.createElement("iframe");
  element.allow = "autoplay";
  element.width = 320;
  element.height = 180;
  element.src = `https://player.vimeo.com/video/76979871?h=8272103f6e&standin=${encodeURIComponent(JSON.stringify(switches))}`;
  document.body.append(element);
  return element;
}

const within = (promise, words, ms = 8000) => Promise.race([promise, sleep(ms).then(() => { throw new Otherwise(`never: ${words}`); })]);

/** What the SDK was told of these events, in order. */
function listen(player, ...types) {
  const heard = [];
  for (const type of types) player.on(type, (data) => heard.push({ type, data }));
  heard.count = (type) => heard.filter((event) => event.type === type).length;
  return heard;
}

async function refusal(promise, words) {
  try {
    await within(promise, words);
  } catch (error) {
    if (error instanceof Otherwise) throw error;
    return error;
  }
  throw new Otherwise(`it did not refuse: ${words}`);
}

const CASES = {
  async "is ready, also for one who comes late"() {
    const element = frame();
    await within(new Player(element).ready(), "ready()");
    const other = frame({ readyMs: 1500 });
    await within(new Player(other).ready(), "ready() of a slow one");
    const late = frame();
    await new Promise((resolve) => { late.addEventListener("load", resolve); });
    await sleep(500);
    await within(new Player(late).ready(), "ready() long after its event");
  },
  async "plays, pauses, and says so"() {
    const player = new Player(frame());
    const heard = listen(player, "play", "playing", "pause", "timeupdate");
    await within(player.play(), "play()");
    await until(() => heard.count("timeupdate") > 2, "three timeupdates");
    expect(heard.count("play") === 1 && heard.count("playing") === 1, "one play, one playing");
    expect(await within(player.getPaused(), "getPaused()") === false, "it is not paused");
    const { data } = heard.find(({ type }) => type === "timeupdate");
    expect(["seconds", "percent", "duration"].every((field) => Number.isFinite(data[field])), JSON.stringify(data));
    await within(player.pause(), "pause()");
    expect(await within(player.getPaused(), "getPaused()") === true, "it is paused");
    await until(() => heard.count("pause") === 1, "pause");
  },
  async "goes where it is told, and answers where it is"() {
    const player = new Player(frame());
    const heard = listen(player, "seeked", "play");
    await within(player.play(), "play()");
    expect(await within(player.setCurrentTime(30.4), "setCurrentTime()") >= 30.4, "it answers where it is");
    await until(() => heard.count("seeked") === 1, "seeked");
    const seconds = await within(player.getCurrentTime(), "getCurrentTime()");
    expect(seconds >= 30.4 && seconds < 33, `it is at ${seconds}`);
    expect(await within(player.getDuration(), "getDuration()") === 61.857, "its length");
    // Answers come in the order of the questions.
    const [a, b, c] = await within(Promise.all([player.setCurrentTime(10), player.setCurrentTime(20), player.getCurrentTime()]), "three at once");
    expect(Math.abs(a - 10) < 1 && Math.abs(b - 20) < 1 && Math.abs(c - 20) < 1, `${a}, ${b}, ${c}`);
  },
  async "begins when its time is set before it has played"() {
    const player = new Player(frame());
    const heard = listen(player, "play");
    await within(player.setCurrentTime(12), "setCurrentTime()");
    await until(() => heard.count("play") === 1, "play");
  },
  async "ends"() {
    const player = new Player(frame());
    const heard = listen(player, "ended");
    await within(player.play(), "play()");
    await within(player.setCurrentTime(60.5), "setCurrentTime()");
    await until(() => heard.count("ended") === 1, "ended");
    expect(await within(player.getEnded(), "getEnded()") === true, "it has ended");
  },
  async "two calls that fail at once each have their error"() {
    const player = new Player(frame());
    const heard = listen(player, "error");
    await within(player.ready(), "ready()");
    const errors = await Promise.all([refusal(player.setCurrentTime(9999), "9999 s"), refusal(player.setCurrentTime(-1), "-1 s")]);
    expect(errors.every(({ name }) => name === "RangeError"), errors.map(({ name }) => name).join());
    await until(() => heard.count("error") === 2, "two error events");
    expect(heard[0].data.method === "setCurrentTime" && heard[0].data.message, JSON.stringify(heard[0].data));
  },
  async "an owner's speed is not changed"() {
    const player = new Player(frame({ isRateFixed: true }));
    const error = await refusal(player.setPlaybackRate(1.5), "setPlaybackRate()");
    expect(error.name === "Error" && error.message, `${error.name}: ${error.message}`);
    const free = new Player(frame());
    const heard = listen(free, "playbackratechange");
    expect(await within(free.setPlaybackRate(1.5), "setPlaybackRate()") === 1.5, "it answers the speed");
    await until(() => heard.count("playbackratechange") === 1 && heard[0].data.playbackRate === 1.5, "playbackratechange");
  },
  async "a browser that wants a click refuses with NotAllowedError"() {
    const error = await refusal(new Player(frame({ wantsClick: true })).play(), "play()");
    expect(error.name === "NotAllowedError", error.name);
  },
  async "who listens no more hears no more"() {
    const player = new Player(frame());
    const heard = [];
    const listener = () => heard.push(1);
    player.on("timeupdate", listener);
    await within(player.play(), "play()");
    await until(() => heard.length > 1, "timeupdates");
    player.off("timeupdate", listener);
    await within(player.getCurrentTime(), "getCurrentTime()");
    const before = heard.length;
    await sleep(1000);
    expect(heard.length <= before, `${heard.length - before} more`);
  },
  async "answers however late, and once"() {
    const player = new Player(frame({ delayMs: 1500, seekMs: 500 }));
    await within(player.play(), "play()");
    const answers = await within(Promise.all([player.setCurrentTime(5), player.getPaused(), player.setCurrentTime(25), player.getVolume(), player.setMuted(true)]), "five at once");
    expect(Math.abs(answers[2] - 25) < 1 && answers[1] === false && answers[3] === 1 && answers[4] === true, JSON.stringify(answers));
  },
};

const thrown = [];
addEventListener("error", ({ message }) => thrown.push(message));

window.report = null;
const report = await Promise.all(Object.entries(CASES).map(async ([name, run]) => {
  try {
    await run();
    return { name, status: "ok", words: "" };
  } catch (error) {
    return { name, status: "failed", words: error instanceof Otherwise ? error.message : `${error?.name}: ${error?.message} ${error?.stack}` };
  }
}));
report.push({ name: "nothing is thrown", status: thrown.length ? "failed" : "ok", words: thrown.join("; ") });
window.report = report;
