const { Backoff } = await import("/bridge/v1.js");

test("tries become rarer up to a bound, each page at a moment of its own, until one succeeds", () => {
  const pages = Array.from({ length: 50 }, () => new Backoff(2000, 30_000));
  for (const wholeMs of [2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const waits = pages.map((page) => page.next());
    equal(waits.every((ms) => ms >= 0.6 * wholeMs && ms <= wholeMs), true, `within ${wholeMs} ms`);
    equal(new Set(waits.map(Math.round)).size > 25, true, "not all at once");
  }
  pages[0].reset();
  equal(pages[0].next() <= 2000, true, "a failure after a success is a first one");
});
