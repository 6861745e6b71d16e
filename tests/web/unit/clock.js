const { ServerClock, StepWatch } = await import("/client/v1.js");

/** Repeatable chance. */
function dice(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

/** A server `ahead` of here, whose clock runs by `drift` faster, over a line of `delay()` ms each way. */
function burst({ atMs, aheadMs, drift = 0, delay, count = 8 }) {
  const samples = [];
  let now = atMs;
  for (let n = 0; n < count; n += 1) {
    const [there, back] = [delay(), delay()];
    const arrived = now + there;
    samples.push({ sentMs: now, serverMs: Math.floor(arrived + aheadMs + drift * (arrived - 1e12)), receivedMs: arrived + back });
    now = arrived + back;
  }
  return samples;
}

test("one burst over a quiet line is good to a millisecond", () => {
  const clock = new ServerClock();
  clock.measure(burst({ atMs: 1e12, aheadMs: 3_600_000, delay: () => 2 }));
  equal(Math.abs(clock.at(1e12) - (1e12 + 3_600_000)) <= 1, true);
  equal(clock.isSure, true);
});

test("the quickest answer counts, not the mean", () => {
  const chance = dice(1);
  const clock = new ServerClock();
  // Seven in eight are held up, mostly on the way there.
  let n = 0;
  const delay = () => ([1, 2].includes((n += 1) % 16) ? 5 : 5 + 200 * chance());
  clock.measure(burst({ atMs: 1e12, aheadMs: 1000, delay }));
  equal(Math.abs(clock.at(1e12) - 1e12 - 1000) < 6, true);
});

test("a guess is replaced by the first burst, and a later guess changes nothing", () => {
  const clock = new ServerClock();
  clock.guess(1e12 + 500, 1e12);
  equal(clock.at(1e12), 1e12 + 500);
  equal(clock.isSure, false);
  clock.measure(burst({ atMs: 1e12, aheadMs: 700, delay: () => 1 }));
  const before = clock.at(1e12);
  clock.guess(5, 1e12);
  equal(clock.at(1e12), before);
});

test("bursts together are better than the last one, on a line that trembles", () => {
  const chance = dice(7);
  const clock = new ServerClock();
  const worst = [];
  for (let n = 0; n < 60; n += 1) {
    const atMs = 1e12 + n * 30_000;
    clock.measure(burst({ atMs, aheadMs: 250, delay: () => 20 + 15 * chance() }));
    if (n > 20) worst.push(Math.abs(clock.at(atMs) - atMs - 250));
  }
  equal(Math.max(...worst) < 4, true, `worst ${Math.max(...worst)}`);
});

test("a drift is found out and followed between bursts", () => {
  const clock = new ServerClock();
  const drift = 50e-6;
  let atMs = 1e12;
  for (let n = 0; n < 40; n += 1, atMs += 30_000) clock.measure(burst({ atMs, aheadMs: 0, drift, delay: () => 1 }));
  const later = atMs + 20_000;
  const truth = later + drift * (later - 1e12);
  equal(Math.abs(clock.at(later) - truth) < 1, true, `off by ${clock.at(later) - truth}`);
  equal(Math.abs(clock.drift - drift) < 10e-6, true, `drift ${clock.drift}`);
});

test("a clock that was set is believed at the next burst", () => {
  const clock = new ServerClock();
  for (let n = 0; n < 10; n += 1) clock.measure(burst({ atMs: 1e12 + n * 30_000, aheadMs: 0, delay: () => 5 }));
  const atMs = 1e12 + 300_000;
  clock.measure(burst({ atMs, aheadMs: -30_000, delay: () => 5 }));
  equal(Math.abs(clock.at(atMs) - (atMs - 30_000)) < 2, true);
});

test("a slow burst does not spoil what is known", () => {
  const clock = new ServerClock();
  for (let n = 0; n < 10; n += 1) clock.measure(burst({ atMs: 1e12 + n * 30_000, aheadMs: 0, delay: () => 1 }));
  const atMs = 1e12 + 300_000;
  let n = 0;
  // All of it held up on the way back: alone it would say 500 ms.
  clock.measure(burst({ atMs, aheadMs: 0, delay: () => ((n += 1) % 2 ? 1 : 1001) }));
  equal(Math.abs(clock.at(atMs) - atMs) < 5, true, `off by ${clock.at(atMs) - atMs}`);
});

test("no samples change nothing", () => {
  const clock = new ServerClock();
  clock.measure([]);
  equal(clock.isSure, false);
});

test("a machine that slept, and a clock that was set, are noticed once", () => {
  const watch = new StepWatch();
  equal(watch.hasStepped(1_000_000, 5000), false);
  equal(watch.hasStepped(1_000_250, 5250), false);
  equal(watch.hasStepped(1_040_500, 5500), true);
  equal(watch.hasStepped(1_040_750, 5750), false);
  equal(watch.hasStepped(1_010_000, 6000), true);
});
