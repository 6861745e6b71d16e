// What every bridge must do, tried on each with its provider's stand-in. A case that makes no sense for a player says why.
// `?bridge=ID` runs the list; `&only=WORDS` runs the cases whose name has them. The result is `window.report`.
import { Follower, localMs } from "/client/v1.js";
import { Bench, Otherwise, Teller, expect, playerTable, sleep, until } from "/bench.js";

/** So many cases at a time: more would only wait for the processor. */
const AT_ONCE = 5;

/** A position is where it was sent if it is this near: players go to a key frame, and play on. */
const NEAR_S = 1.5;

const PROVIDERS = {
  youtube: {
    url: "https://www.youtube-nocookie.com/embed/aqz-KE-bpKQ",
    play: "playVideo", seek: "seekTo",
    adverts: ["unstarted", "other", "stuck"],
    errors: [2, 5, 100, 101, 150, 153, 999],
  },
  vimeo: {
    url: "https://player.vimeo.com/video/76979871?h=8272103f6e",
    play: "play", seek: "setCurrentTime",
    errors: ["PasswordError", "PrivacyError", "RangeError"],
  },
  vidking: { url: "https://www.vidking.net/embed/movie/1078605", isReloaded: true },
  mp4: { url: "/media/clock.webm", isFile: true, errors: [3, 4] },
  // Fed segment by segment, and in the page all the same.
  adaptive: { url: "/streams/clear/manifest.mpd", isFile: true, errors: [3, 4] },
  // The examples of real providers that are not bundled.
  dailymotion: {
    url: "https://www.dailymotion.com/embed/video/x84sh87",
    play: "play", seek: "seek", adverts: ["other"], errors: ["DM002"], isPlain: true,
  },
  peertube: {
    url: "https://video.example.org/videos/embed/kkGMgK9ZtnKfYAgnEtQxbv",
    play: "play", seek: "seek", isPlain: true,
    // What the operator names.
    player: { embed_origins: ["https://video.example.org"] },
  },
  jellyfin: { url: "/media/clock.webm", isFile: true, errors: [3, 4] },
  // The template that authors begin with.
  acme: { url: "https://play.acme.example/movie/4711", play: "play", seek: "seek", adverts: ["other"], isPlain: true },
  // As bridges were before `seeking`, `stalled` and `rate`: such a one may still be put in.
  old: { url: "https://play.acme.example/movie/4711", play: "play", isOld: true, isPlain: true },
};

const near = (a, b) => Math.abs(a - b) < NEAR_S;

// ---- Why a case makes no sense for a player ------------------------------------------------------------------------

const takesOrders = ({ isReloaded, isFile }) =>
  (isReloaded && "it takes no orders: it is loaded anew") || (isFile && "it is the browser's own and answers at once");
const isModern = ({ isOld }) => isOld && "written before there was such a thing";
const isFramed = ({ isFile }) => isFile && "it is no frame and gets no messages";
const both = (...reasons) => (provider) => reasons.map((reason) => reason(provider)).find(Boolean);

// ---- The list ------------------------------------------------------------------------------------------------------

/** @type {{ name: string, without?: (provider: object) => string | false | undefined, run: (provider: object) => Promise<void> }[]} */
const CASES = [];
const add = (name, run, without = () => false) => CASES.push({ name, run, without });

/** Mounts, runs, takes away. */
async function on(provider, setup, run) {
  const bench = await Bench.mount(provider, setup);
  try {
    await run(bench, bench.player);
  } finally {
    bench.close();
  }
}

// The long ones first: the others run beside them.

add("says nothing for 20 s: no event, nothing thrown", (provider) => on(provider, provider.isFile ? { address: { answer: "never" } } : { switches: { isSilent: true } }, async (bench, player) => {
  await sleep(1000);
  player.play()?.catch(() => {});
  player.seek(10);
  player.pause();
  player.play()?.catch(() => {});
  await sleep(19_000);
  for (const { type } of bench.said("error", "ended", "ratechange", "blocked")) expect(false, `it said ${type}`);
  // A player that is loaded anew, or was never asked, does as it is told without an answer.
  if (!provider.isReloaded && !provider.isFile && !provider.isOld) {
    const strays = bench.said("ready", "play", "pause");
    expect(strays.length === 0, `it said ${bench.story()} of a player that said nothing`);
  }
  expect(Number.isFinite(player.currentTime) && player.currentTime >= 0, `it is at ${player.currentTime}`);
}));

add("is not heard for five seconds while it plays: nobody sought", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  bench.mark();
  await bench.do("set", { isSilent: true });
  await sleep(5000);
  await bench.do("set", { isSilent: false });
  const before = player.currentTime;
  await until(() => player.currentTime > before + 3, "is where it has come to");
  await bench.idle();
  bench.heard({}, "once it was heard again");
}), both(isModern, isFramed));

for (const answer of ["404", "500", "never"]) {
  add(`its address answers ${answer}: no event that it plays, nothing thrown`, (provider) => on(provider, { address: { answer } }, async (bench, player) => {
    player.play()?.catch(() => {});
    if (provider.isFile && answer !== "never") {
      await until(() => bench.count("error") > 0, "error");
      expect(bench.count("error") === 1 && /\w+ \w+/.test(bench.said("error")[0].detail), "one error, with words");
      expect(bench.count("ready") === 0, "it is not ready");
      return;
    }
    await sleep(3000);
    expect(bench.count("timeupdate") === 0 && bench.count("seeked") === 0, `it said ${bench.story()}`);
    if (!provider.isReloaded && !provider.isFile) expect(bench.count("play") === 0, `it said ${bench.story()}`);
  }));
}

for (const delayMs of [40, 1500, 5000]) {
  add(`answers ${delayMs} ms late: each order has its one event`, (provider) => on(provider, {}, async (bench, player) => {
    await bench.begin();
    await bench.do("set", { delayMs });
    const isAnswered = async (event, words, order, isSo = () => true) => {
      bench.mark();
      order();
      const watched = watch(bench, isSo);
      await until(() => bench.count(event) > 0, event);
      await bench.idle();
      bench.heard({ [event]: 1 }, words);
      watched.stop();
    };
    const isAt = (seconds) => () => provider.isOld || near(player.currentTime, seconds);
    await isAnswered("seeked", "a seek while playing", () => player.seek(40), isAt(40));
    await isAnswered("pause", "a pause", () => player.pause());
    await isAnswered("seeked", "a seek while paused", () => player.seek(20), isAt(20));
  }), takesOrders);
}

/** Looks at every report whether it is still so: what is stale must move nothing. */
function watch(bench, isSo) {
  const { player } = bench;
  let bad = null;
  const look = () => { if (!isSo()) bad ??= player.currentTime; };
  player.addEventListener("timeupdate", look);
  const timer = setInterval(look, 20);
  return {
    stop() {
      clearInterval(timer);
      player.removeEventListener("timeupdate", look);
      expect(bad === null, `a stale report moved it to ${bad}`);
    },
  };
}

for (const delayMs of [0, 40, 1500]) {
  for (const last of ["play", "pause"]) {
    add(`twenty orders in a second, ${delayMs} ms late, the last a ${last}: all are accounted for`, (provider) => on(provider, { switches: { seekMs: 120 } }, async (bench, player) => {
      await bench.begin();
      if (!provider.isReloaded && !provider.isFile) await bench.do("set", { delayMs });
      const teller = new Teller(bench);
      teller.isPlaying = true;
      // Also back to a place that was left a moment ago.
      const places = [30, 50, 10, 50, 20, 40, 25];
      for (let n = 0; n < 18; n += 1) {
        if (n % 5 === 1) teller.pause();
        else if (n % 5 === 3) teller.play();
        else teller.seek(places[n % places.length]);
        await sleep(50);
      }
      teller.seek(45);
      teller[last]();
      await until(() => player.paused === (last === "pause") && !player.seeking, () => `is where the last order says: paused ${player.paused}, seeking ${player.seeking}`);
      if (bench.stage.querySelector("iframe")) await bench.idle();
      await sleep(300);
      const ran = last === "play" ? 5 + delayMs / 1000 : 0;
      expect(player.currentTime > 45 - NEAR_S && player.currentTime < 45 + ran + NEAR_S, `it is at ${player.currentTime} and not at 45`);
      expect(teller.strays.length === 0, `taken for the person's: ${teller.strays.join(", ")}`);
    }), both(isModern, delayMs ? takesOrders : () => false));
  }
}

add("is ready once, and says nothing else", (provider) => on(provider, {}, async (bench, player) => {
  await bench.ready();
  await bench.idle();
  bench.heard({ ready: 1 }, "put up paused");
  expect(player.paused, "it is paused");
}));

add("needs 2 s to be ready: is ready once, then plays", (provider) => on(provider, provider.isFile ? { address: { delay: 2000 } } : { switches: { readyMs: 2000 } }, async (bench, player) => {
  await bench.ready();
  player.play().catch(() => {});
  await bench.moves("after play()");
  expect(bench.count("ready") === 1 && bench.count("play") === 1, `it said ${bench.story()}`);
}), isModern);

add("plays: `play` once, play() settles, it moves", (provider) => on(provider, {}, async (bench, player) => {
  await bench.ready();
  bench.mark();
  await Promise.race([player.play(), sleep(10_000).then(() => expect(false, "play() never settled"))]);
  await bench.moves("after play()");
  await bench.idle();
  bench.heard({ play: 1 }, "play()");
}));

add("pauses: `pause` once, it stands", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  bench.mark();
  player.pause();
  await until(() => bench.count("pause") > 0, "pause");
  const at = player.currentTime;
  await bench.idle();
  bench.heard({ pause: 1 }, "pause()");
  expect(Math.abs(player.currentTime - at) < 0.5, `it went on to ${player.currentTime} from ${at}`);
  player.play().catch(() => {});
  await bench.moves("after another play()");
  await bench.idle();
  bench.heard({ pause: 1, play: 1 }, "pause() and play()");
}));

for (const [name, isPlaying] of [["playing", true], ["paused", false]]) {
  add(`seeks while ${name}: seeking, then \`seeked\` once, and it is there`, (provider) => on(provider, {}, async (bench, player) => {
    await bench.begin();
    if (!isPlaying) {
      player.pause();
      await until(() => player.paused, "paused");
      await bench.idle();
    }
    bench.mark();
    player.seek(50);
    if (!provider.isOld) {
      const isInstant = provider.isReloaded && !isPlaying;
      expect(player.seeking || isInstant, "it is seeking");
    }
    await until(() => bench.count("seeked") > 0 && !player.seeking, "seeked");
    await bench.idle();
    bench.heard({ seeked: 1 }, "seek()");
    expect(player.paused === !isPlaying, "it plays as before");
    expect(player.currentTime > 50 - NEAR_S && player.currentTime < 50 + 6, `it is at ${player.currentTime}`);
  }));
}

add("a seek takes 4 s: seeking or stalled all the while, `seeked` once", (provider) => on(provider, provider.isReloaded ? { switches: { startMs: 4000 } } : { switches: { seekMs: 4000 } }, async (bench, player) => {
  await bench.ready();
  player.play().catch(() => {});
  await bench.moves("after play()");
  await bench.idle();
  bench.mark();
  const toldAt = performance.now();
  player.seek(50);
  let wasIdle = false;
  while (performance.now() - toldAt < 3500) {
    wasIdle ||= !player.seeking && !player.stalled;
    await sleep(20);
  }
  expect(!wasIdle, "it said that it had something to show");
  await bench.moves("after the seek");
  await bench.idle();
  bench.heard({ seeked: 1 }, "seek()");
}), both(isModern, ({ isFile }) => isFile && "see the held file"));

add("is sought before it ever played: stays paused, and plays from there", (provider) => on(provider, {}, async (bench, player) => {
  await bench.ready();
  bench.mark();
  player.seek(30);
  await until(() => bench.count("seeked") > 0 && !player.seeking, "seeked");
  await bench.idle();
  bench.heard({ seeked: 1 }, "seek()");
  expect(player.paused && near(player.currentTime, 30), `paused ${player.paused}, at ${player.currentTime}`);
  expect((await bench.do("state")).paused, "the player plays although nobody wished it");
  bench.mark();
  player.play().catch(() => {});
  await bench.moves("after play()");
  await bench.idle();
  bench.heard({ play: 1 }, "play()");
  expect(player.currentTime > 28 && player.currentTime < 40, `it plays at ${player.currentTime}`);
  expect((await bench.do("state")).time > 28, "the player itself is elsewhere");
}));

add("is sought before it ever played, then a person plays it: it plays from there", (provider) => on(provider, {}, async (bench, player) => {
  await bench.ready();
  player.seek(30);
  await until(() => bench.count("seeked") > 0 && !player.seeking, "seeked");
  await bench.idle();
  bench.mark();
  await bench.do("play");
  await bench.moves("the person's play");
  await bench.idle();
  bench.heard({ play: 1 }, "a person's play");
  const { time } = await bench.do("state");
  expect(player.currentTime > 29 && player.currentTime < 40 && time > 29, `it says ${player.currentTime}, and is at ${time}`);
}), isModern);

add("a short seek, answered late: `seeked` once, when it is there", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  for (const step of [1.3, -1.2]) {
    await bench.do("set", { delayMs: 1500 });
    const target = player.currentTime + step;
    bench.mark();
    player.seek(target);
    await sleep(1000);
    expect(bench.count("seeked") === 0, "it said `seeked` before it was there");
    await until(() => bench.count("seeked") > 0, "seeked");
    await bench.idle();
    bench.heard({ seeked: 1 }, `a seek by ${step} s`);
    await bench.do("set", { delayMs: 0 });
  }
}), both(isModern, takesOrders));

add("what it says is 1.5 s late: each order has its one event", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  await bench.do("set", { lagMs: 1500 });
  bench.mark();
  player.seek(50);
  await until(() => bench.count("seeked") > 0, "seeked");
  await bench.idle();
  bench.heard({ seeked: 1 }, "a seek");
  bench.mark();
  player.pause();
  await until(() => bench.count("pause") > 0, "pause");
  await bench.idle();
  bench.heard({ pause: 1 }, "a pause");
}), both(isModern, takesOrders));

add("is put up playing at 30 s: plays there, and nobody sought", (provider) => on(provider, { options: { startAt: 30, autoplay: true } }, async (bench, player) => {
  await bench.ready();
  if (provider.isFile) {
    // The page seeks and plays it itself.
    player.seek(30);
    await player.play();
  }
  await bench.moves("by itself");
  await bench.idle();
  expect(player.currentTime > 29 && player.currentTime < 40, `it is at ${player.currentTime}`);
  if (!provider.isFile) bench.heard({ ready: 1, play: bench.count("play") }, "put up");
  expect(bench.count("play") <= 1, "one `play` at most");
}), isModern);

add("its first report is 0: nothing moves there", (provider) => on(provider, { options: { startAt: 30, autoplay: true }, switches: { saysZeroFirst: true } }, async (bench, player) => {
  let wasAtZero = false;
  player.addEventListener("timeupdate", () => { wasAtZero ||= player.currentTime < 25; });
  await bench.ready();
  await bench.moves("by itself");
  await bench.idle();
  expect(!wasAtZero, "it believed the 0");
  expect(bench.count("seeked") === 0 && bench.count("pause") === 0, `it said ${bench.story()}`);
}), both(isModern, ({ isFile }) => isFile && "a file knows where it is"));

add("a person plays, pauses and seeks: one event each", (provider) => on(provider, {}, async (bench, player) => {
  await bench.ready();
  await bench.idle();
  bench.mark();
  await bench.do("play");
  await bench.moves("the person's play");
  await bench.idle();
  bench.heard({ play: 1 }, "a person's play");
  bench.mark();
  await bench.do("seek", 50);
  await until(() => bench.count("seeked") > 0, "seeked");
  await bench.idle();
  bench.heard({ seeked: 1 }, "a person's seek while playing");
  expect(player.currentTime > 49 && player.currentTime < 56, `it is at ${player.currentTime}`);
  bench.mark();
  await bench.do("pause");
  await until(() => bench.count("pause") > 0, "pause");
  await bench.idle();
  bench.heard({ pause: 1 }, "a person's pause");
  bench.mark();
  await bench.do("seek", 20);
  await until(() => bench.count("seeked") > 0, "seeked");
  await bench.idle();
  bench.heard({ seeked: 1 }, "a person's seek while paused");
  expect(near(player.currentTime, 20), `it is at ${player.currentTime}`);
}));

for (const form of ["unstarted", "other", "stuck"]) {
  add(`an advert (${form}): stalled and nobody's doing, then back`, (provider) => on(provider, {}, async (bench, player) => {
    await bench.begin();
    const at = player.currentTime;
    bench.mark();
    await bench.do("advertise", form);
    await until(() => player.stalled, "stalled", 5000);
    let isOver = false;
    let wasLost = false;
    const look = setInterval(() => { wasLost ||= !isOver && !player.stalled; }, 20);
    await sleep(4000);
    isOver = true;
    clearInterval(look);
    expect(!wasLost, "it said that the video was back while the advert was shown");
    expect(Math.abs(player.currentTime - at) < 4, `it went from ${at} to ${player.currentTime}`);
    await bench.do("resume");
    await bench.moves("after the advert");
    await bench.idle();
    bench.heard({}, "an advert");
  }), (provider) => !provider.adverts?.includes(form) && "it shows no adverts that it tells of");

  add(`a seek ordered during an advert (${form}): comes back all the same`, (provider) => on(provider, {}, async (bench, player) => {
    await bench.begin();
    await bench.do("advertise", form);
    await until(() => player.stalled, "stalled", 5000);
    bench.mark();
    player.seek(120);
    await sleep(1000);
    await bench.do("resume");
    await bench.moves("after the advert");
    expect(bench.count("pause") === 0 && bench.count("play") === 0 && bench.count("seeked") === 1, `it said ${bench.story()}`);
  }), (provider) => !provider.adverts?.includes(form) && "it shows no adverts that it tells of");
}

add("a live stream grows: nothing is in the way", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  bench.mark();
  for (const seconds of [217, 222, 240]) {
    await bench.do("setDuration", seconds);
    await sleep(600);
    expect(!player.stalled, `stalled, only because it is ${seconds} s long now`);
  }
  await bench.idle();
  bench.heard({}, "a longer stream");
}), ({ id }) => id !== "youtube" && "its length is no sign of anything");

add("runs dry while playing: stalled, `waiting`, no other event, then on", (provider) => on(provider, provider.isFile ? { address: { hold: "dry", after: 40_000 } } : {}, async (bench, player) => {
  bench.hold = "dry";
  await bench.ready();
  player.play().catch(() => {});
  await bench.moves("at first");
  bench.mark();
  if (!provider.isFile) await bench.do("stall");
  await until(() => player.stalled, () => `stalled, at ${player.currentTime}; there is ${buffered(bench)}`, 14_000);
  await sleep(1500);
  expect(player.stalled && bench.count("waiting") === 1, `it said ${bench.story()}`);
  await bench.do("feed");
  await bench.moves("fed");
  await bench.idle();
  bench.heard({}, "a stall");
}), both(isModern, ({ isReloaded }) => isReloaded && "it has no word for it"));

function buffered({ video }) {
  const ranges = video ? Array.from({ length: video.buffered.length }, (_, n) => `${video.buffered.start(n)} to ${video.buffered.end(n)}`) : [];
  return `${ranges.join(", ")}; ready state ${video?.readyState}`;
}

add("a seek to where nothing has come yet: seeking, then `seeked` once", (provider) => on(provider, { address: { hold: "far", after: 60_000, delay: 700 } }, async (bench, player) => {
  bench.hold = "far";
  await bench.ready();
  bench.mark();
  player.seek(100);
  await sleep(400);
  expect(player.seeking && bench.count("seeked") === 0, "it is seeking");
  await bench.do("feed");
  await until(() => bench.count("seeked") > 0 && !player.seeking, "seeked");
  await bench.idle();
  bench.heard({ seeked: 1 }, "seek()");
}), ({ isFile }) => !isFile && "see the late answers");

/** By how much it is ahead of its player at each of a few moments. */
async function ahead(bench, player) {
  const seen = [];
  for (let n = 0; n < 8; n += 1) {
    await sleep(130);
    const before = player.currentTime;
    const { time } = await bench.do("state");
    seen.push((before + player.currentTime) / 2 - time);
  }
  return seen;
}

const isStamped = ({ id }) => id !== "youtube" && "its reports have no stamp";

add("a report is as old as its stamp says: it is carried to now", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  await bench.do("set", { stampAgeMs: 700 });
  await sleep(1500);
  const off = await ahead(bench, player);
  expect(off.every((seconds) => Math.abs(seconds) < 0.4), `it is ahead by ${off}`);
}), isStamped);

add("a report of long ago is carried on by a second, and no further", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  player.seek(60);
  await bench.moves("from there");
  await bench.do("set", { stampAgeMs: 5000 });
  await sleep(1500);
  const off = await ahead(bench, player);
  expect(off.every((seconds) => seconds > -4.8 && seconds < -3.6), `it is ahead by ${off}`);
}), isStamped);

add("a report of long ago about a paused video is true now", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  await bench.do("set", { stampAgeMs: 5000 });
  await bench.do("pause");
  await until(() => player.paused, "paused");
  await bench.idle();
  const off = await ahead(bench, player);
  expect(off.every((seconds) => Math.abs(seconds) < 0.1), `it is ahead by ${off}`);
}), isStamped);

add("falls silent while it plays: it is carried on by a second, and no further", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  await bench.do("set", { isSilent: true });
  await sleep(400);
  const last = player.currentTime;
  const seen = [];
  for (let n = 0; n < 8; n += 1) {
    await sleep(300);
    seen.push(player.currentTime - last);
  }
  expect(seen.every((seconds) => seconds < 1.1) && seen[0] > 0.1, `it went on by ${seen}`);
}), isFramed);

add("a load is aimed ahead by what the one before took", (provider) => on(provider, { switches: { startMs: 2500 } }, async (bench, player) => {
  const began = performance.now();
  await bench.ready();
  player.play();
  await until(() => bench.count("timeupdate") > 0, "plays");
  const tookS = (performance.now() - began) / 1000;
  player.seek(100);
  const progress = Number(new URL(bench.stage.querySelector("iframe").src).searchParams.get("progress"));
  expect(progress >= 102 && progress <= 100 + tookS, `it took ${tookS} s, and the next load begins at ${progress}`);
}), ({ isReloaded }) => !isReloaded && "it is not loaded anew");

add("a person takes another speed: `ratechange` once", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  bench.mark();
  await bench.do("setRate", 1.5);
  await until(() => bench.count("ratechange") > 0, "ratechange");
  await bench.idle();
  bench.heard({ ratechange: 1 }, "another speed");
  expect(player.playbackRate === 1.5, `it says ${player.playbackRate}`);
  bench.mark();
  player.playbackRate = 1;
  await until(() => bench.count("ratechange") > 0, "ratechange");
  expect((await bench.do("state")).rate === 1 || provider.isFile, "it is put back");
}), ({ isReloaded, isPlain }) => (isReloaded || isPlain) && "it says nothing of speeds");

add("its owner allows no other speed: no error of the video's", (provider) => on(provider, { switches: { isRateFixed: true } }, async (bench, player) => {
  await bench.begin();
  bench.mark();
  player.playbackRate = 1.5;
  await bench.idle();
  bench.heard({}, "a refused speed");
}), ({ id }) => id !== "vimeo" && "no owner decides on its speed");

for (const code of [2, 5, 100, 101, 150, 153, 999, "PasswordError", "PrivacyError", "RangeError", "DM002", 3, 4]) {
  const without = ({ errors, isFile, isReloaded, isPlain }) =>
    !errors?.includes(code) && (isReloaded || isPlain ? "it tells of no errors" : isFile ? "not an error of a file" : "not an error of this player");
  // An error of another player's is no case of this one's.
  CASES.push({
    name: `error ${code}: one \`error\`, with words`, isOwn: true, without, run: (provider) => on(provider, provider.isFile ? { address: code === 4 ? { answer: "404" } : { garble: 1 } } : {}, async (bench) => {
      if (!provider.isFile) {
        await bench.ready();
        await bench.do("idle");
        bench.mark();
        await bench.do("fail", code);
      }
      await until(() => bench.count("error") > 0, "error");
      await sleep(300);
      const errors = bench.said("error");
      expect(errors.length === 1, `${errors.length} errors`);
      expect(typeof errors[0].detail === "string" && /\S+ \S+/.test(errors[0].detail), `its words are ${JSON.stringify(errors[0].detail)}`);
    }),
  });
}

for (const delayMs of [0, 5000]) {
  add(`the browser wants a click, which is said ${delayMs} ms late: NotAllowedError or \`blocked\`, and a click helps`, (provider) => on(provider, { switches: { wantsClick: true } }, async (bench, player) => {
    await bench.ready();
    await bench.do("set", { delayMs });
    bench.mark();
    let refusal = null;
    player.play().catch((error) => { refusal = error; });
    await until(() => refusal !== null || bench.count("blocked") > 0, "refused or blocked");
    expect(refusal === null || refusal.name === "NotAllowedError", `it was refused with ${refusal?.name}`);
    await bench.idle();
    expect(bench.count("error") === 0 && bench.count("play") === 0, `it said ${bench.story()}`);
    await bench.do("play");
    await bench.moves("by a click");
    expect(bench.count("play") === 1, `it said ${bench.story()}`);
  }), ({ isReloaded, isPlain, isFile }) => ((isReloaded || isPlain) && "it does not say that it was refused") || (isFile && "the browser says so itself"));
}

add("play() that is never answered settles", (provider) => on(provider, { switches: { ignores: ["play"] } }, async (bench, player) => {
  await bench.ready();
  await Promise.race([player.play().catch(() => {}), sleep(8000).then(() => expect(false, "play() never settled"))]);
  expect(bench.count("play") === 0 && player.paused, "it does not play");
}), ({ id }) => id !== "vimeo" && "only this one is known for it");

add("a stream without an end: its length is not known or Infinity, and it plays", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  await bench.do("setDuration", Infinity);
  await bench.idle();
  const { duration } = player;
  expect(Number.isNaN(duration) || duration > 0, `it is ${duration} s long`);
  await bench.moves("without an end");
}), isFramed);

add("10,000 messages that mean nothing: nothing thrown, a finite position, few events, and it goes on", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  bench.mark();
  let bad = null;
  const look = () => {
    const { currentTime, duration, playbackRate = 1, volume = 1 } = player;
    if (!Number.isFinite(currentTime) || currentTime < 0) bad ??= `at ${currentTime}`;
    if (!Number.isNaN(duration) && !(duration > 0)) bad ??= `${duration} s long`;
    if (!(playbackRate > 0 && playbackRate <= 16)) bad ??= `at a speed of ${playbackRate}`;
    if (!(volume >= 0 && volume <= 1)) bad ??= `as loud as ${volume}`;
  };
  for (const type of ["timeupdate", "seeked", "ratechange", "volumechange", "error", "ended"]) player.addEventListener(type, look);
  await bench.do("flood", 10_000);
  await bench.idle();
  look();
  expect(bad === null, `it is ${bad}`);
  const events = bench.said("ready", "play", "pause", "seeked", "ended", "error", "blocked", "ratechange", "waiting");
  expect(events.length <= 10, `${events.length} events: ${bench.story().slice(0, 300)}`);
  await bench.moves("after the flood");
}), isFramed);

add("what others say is not heard: another window, another origin, the page itself", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  // Another player of the same origin, in another frame.
  const other = await Bench.mount(provider);
  try {
    await other.ready();
    bench.mark();
    await other.do("play");
    await other.do("seek", 60);
    await other.idle();
    expect(player.currentTime < 50, "another frame moved it");
    // This page.
    for (const said of [
      { event: "pause", data: { seconds: 60 } }, { event: "pause", seconds: 60 }, { event: "onStateChange", info: 2 },
      { event: "infoDelivery", info: { currentTime: 60, playerState: 2 } },
      { type: "PLAYER_EVENT", data: { event: "pause", currentTime: 60 } },
    ]) {
      postMessage(said, "*");
      postMessage(JSON.stringify(said), "*");
    }
    await bench.idle();
    bench.heard({}, "what others said");
    // The frame itself, once it has gone to another origin.
    const elsewhere = PROVIDERS[provider.isPlain ? "vidking" : "acme"].url;
    bench.stage.querySelector("iframe").src = elsewhere;
    bench.isAlone = true;
    await sleep(1000);
    bench.mark();
    const before = player.currentTime;
    for (const said of [
      { event: "pause", data: { seconds: 60 } }, { event: "pause", seconds: 60 }, { event: "onStateChange", info: 2 },
      { event: "infoDelivery", info: { currentTime: 60, playerState: 2 } },
      { type: "PLAYER_EVENT", data: { event: "pause", currentTime: 60 } },
    ]) await foreignSays(bench, said);
    await sleep(300);
    bench.heard({}, "what another origin said");
    expect(Math.abs(player.currentTime - before) < 3, "another origin moved it");
  } finally {
    other.close();
  }
}), isFramed);

/** The frame of this bench, wherever it is now, says something to this page. */
async function foreignSays(bench, said) {
  const frame = bench.stage.querySelector("iframe");
  const { port1, port2 } = new MessageChannel();
  const answered = new Promise((resolve) => { port1.onmessage = ({ data: { id } }) => { if (id === 1) resolve(); }; });
  frame.contentWindow.postMessage({ standin: "hands" }, "*", [port2]);
  port1.postMessage({ id: 1, name: "say", args: [said] });
  await Promise.race([answered, sleep(3000).then(() => expect(false, "the other origin did not answer"))]);
}

add("is taken away: nothing is left, nothing is said, twice is harmless", (provider) => on(provider, {}, async (bench, player) => {
  await bench.begin();
  player.seek(50);
  player.play().catch(() => {});
  bench.mark();
  player.destroy();
  expect(bench.stage.childElementCount === 0, `${bench.stage.innerHTML} is left`);
  player.destroy();
  await sleep(3000);
  expect(bench.said("ready", "play", "seeked", "timeupdate", "error", "ended").length === 0, `it said ${bench.story()}`);
  expect(bench.stage.childElementCount === 0, "something came back");
}));

add("is taken away before it is ready: nothing is said", (provider) => on(provider, {}, async (bench, player) => {
  player.destroy();
  player.destroy();
  expect(bench.stage.childElementCount === 0, "something is left");
  await sleep(2000);
  expect(bench.said("ready", "play", "seeked", "timeupdate", "error").length === 0, `it said ${bench.story()}`);
}));

for (const delayMs of [40, 1500]) {
  add(`held to a room that jumps ten times, ${delayMs} ms late: nothing is taken for the person's`, (provider) => {
    let follower;
    const acts = [];
    const room = { is_playing: false, position_ms: 5000, at_ms: localMs(), hold: null };
    return on(provider, { options: { interactive: false }, mounted: ({ player }) => {
      follower = new Follower(player, { serverNow: localMs, localNow: localMs, limits: provider.player });
      follower.addEventListener("act", ({ detail }) => acts.push(`${detail.kind} at ${detail.seconds.toFixed(2)}`));
      follower.apply({ ...room });
    } }, async (bench, player) => {
    const ticking = setInterval(() => follower.tick(), 100);
    const says = (changes) => { Object.assign(room, changes, { at_ms: localMs() }); follower.apply({ ...room }); };
    try {
      await bench.ready();
      says({ is_playing: true });
      await bench.moves("as the room does", 20_000);
      if (!provider.isReloaded && !provider.isFile) await bench.do("set", { delayMs });
      for (const [n, seconds] of [40, 20, 41.3, 42.4, 10, 50, 48.9, 12, 30, 20].entries()) {
        says({ position_ms: seconds * 1000, is_playing: n !== 4 });
        await until(() => !player.seeking && Math.abs(follower.error) < 10, () => `is where the room is; it is off by ${follower.error}`);
        await sleep(300 + (n % 3) * 200);
      }
      await bench.moves("in the end", 20_000);
      await until(() => Math.abs(follower.error) < provider.player.drift_ms / 1000 + 0.5, () => `is where the room is; it is off by ${follower.error}`, 20_000);
      expect(acts.length === 0, `taken for the person's: ${acts.join(", ")}`);
    } finally {
      clearInterval(ticking);
      follower.stop();
    }
    });
  }, both(isModern, delayMs === 40 ? () => false : takesOrders));
}

// ---- Running it ----------------------------------------------------------------------------------------------------

const thrown = [];
addEventListener("error", ({ message, filename, lineno }) => thrown.push(`${message} (${filename}:${lineno})`));
addEventListener("unhandledrejection", ({ reason }) => thrown.push(`unhandled: ${reason?.stack ?? reason}`));

async function runOne(provider, { name, run, without }) {
  const reason = without(provider);
  if (reason) return { name, status: "n/a", words: reason };
  const began = performance.now();
  try {
    await run(provider);
    return { name, status: "ok", words: `${((performance.now() - began) / 1000).toFixed(1)} s` };
  } catch (error) {
    return { name, status: "failed", words: error instanceof Otherwise ? error.message : String(error.stack) };
  }
}

async function runAll() {
  const query = new URLSearchParams(location.search);
  const id = query.get("bridge");
  const provider = { id, ...PROVIDERS[id], player: { ...await playerTable(id), ...PROVIDERS[id].player } };
  const only = query.get("only");
  const todo = CASES.filter(({ name, isOwn, without }) => (!only || name.includes(only)) && !(isOwn && provider.errors && without(provider)));
  const results = [];
  let next = 0;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (next < todo.length) {
      const n = next++;
      results[n] = await runOne(provider, todo[n]);
    }
  }));
  results.push({ name: "nothing is thrown", status: thrown.length ? "failed" : "ok", words: thrown.slice(0, 3).join("; ") });
  return results;
}

window.report = null;
window.report = await runAll().catch((error) => [{ name: "the list itself", status: "failed", words: String(error.stack) }]);
