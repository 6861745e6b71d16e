const { Controller, noCosts } = await import("/client/v1.js");

/** A player that does as it is told: `error` seconds behind, stepped ten times a second. */
class Simulated {
  constructor(error, { rate = "free", obeys = true, limits, seekMiss = () => 0 } = {}) {
    Object.assign(this, { error, rate, obeys, seekMiss });
    this.controller = new Controller(noCosts(), limits);
    this.speed = 1;
    this.now = 0;
    this.seeks = 0;
  }

  run(seconds, noise = () => 0, drift = 0) {
    for (let n = 0; n < seconds * 10; n += 1) {
      this.now += 100;
      this.error += (drift - (this.speed - 1)) * 0.1;
      const correction = this.controller.step(this.now, this.error + noise(), this.rate);
      if (correction?.kind === "bend" && this.obeys) this.speed = correction.rate;
      if (correction?.kind === "rest") this.speed = 1;
      if (correction?.kind === "seek") {
        this.seeks += 1;
        this.error = this.seekMiss();
        this.controller.settle(this.now);
      }
    }
    return this;
  }
}

test("a player in place is left alone", () => {
  let n = 0;
  const player = new Simulated(0.003).run(60, () => ((n += 1) % 2 ? 0.004 : -0.004));
  equal([player.controller.writes, player.seeks], [0, 0]);
});

test("a correction is two writes: one to begin it, one to end it", () => {
  const player = new Simulated(0.05).run(20);
  equal(player.controller.writes, 2);
  equal(Math.abs(player.error) < 0.01, true, `${player.error}`);
  equal(player.speed, 1);
});

test("either way is mended", () => {
  for (const error of [-0.3, -0.05, 0.05, 0.3]) {
    const player = new Simulated(error).run(20);
    equal(Math.abs(player.error) < 0.01, true, `${error}: ${player.error}`);
    equal(player.seeks, 0);
  }
});

test("nobody hears a small correction in quiet play", () => {
  const player = new Simulated(0);
  player.controller.moved("start", 0);
  player.run(10);
  player.error = 0.04;
  player.run(1);
  equal(Math.abs(player.speed - 1) <= 0.0051 && player.speed !== 1, true, `${player.speed}`);
});

test("a crystal that runs off by a hundred parts in a million costs at most two writes a minute", () => {
  const player = new Simulated(0).run(600, () => 0, 100e-6);
  equal(player.controller.writes <= 20, true, `${player.controller.writes} writes`);
  equal(Math.abs(player.error) < 0.025, true);
});

test("beyond a second it is a seek", () => {
  const player = new Simulated(5).run(5);
  equal([player.seeks, player.error], [1, 0]);
});

test("nothing is believed for a while after a tab came back", () => {
  const player = new Simulated(5);
  player.controller.settle(0);
  for (let now = 0; now < 500; now += 100) equal(player.controller.step(now, 5, "free"), null);
});

test("after a move readings that agree are believed at once, and the rest is gone within a second", () => {
  const player = new Simulated(0.08);
  player.controller.moved("start", 0);
  player.run(1.5);
  equal(Math.abs(player.error) < 0.015, true, `${player.error}`);
});

test("a picture that does not move yet is not taken for one that is behind", () => {
  const controller = new Controller(noCosts());
  controller.moved("start", 0);
  for (let n = 1; n < 5; n += 1) equal(controller.step(n * 100, n * 0.1, "free"), null);
});

/** A start that took so long, begun that late. */
function start(controller, tookS, { kind = "start", lateS = 0 } = {}) {
  const miss = lateS + tookS - controller.startCost(kind);
  controller.moved(kind, 0, lateS);
  for (let now = 100; now <= 300; now += 100) controller.step(now, miss, "free");
}
const near = (value, expected) => equal(Math.abs(value - expected) < 1e-9, true, `${value}, not ${expected}`);

test("what a start takes is learned when it takes it again", () => {
  const controller = new Controller(noCosts());
  const usual = controller.startCost("start");
  start(controller, 0.2);
  near(controller.startCost("start"), usual);
  start(controller, 0.2);
  start(controller, 0.2);
  near(controller.startCost("start"), 0.2);
  start(controller, 0.01);
  near(controller.startCost("start"), 0.2);
});

test("a start that was begun late did not take longer", () => {
  const controller = new Controller(noCosts());
  for (let n = 0; n < 5; n += 1) start(controller, 0.07, { lateS: 0.4 });
  near(controller.startCost("start"), 0.07);
});

test("going on where it paused is another thing than a start", () => {
  const controller = new Controller(noCosts());
  const usual = controller.startCost("start");
  for (let n = 0; n < 5; n += 1) start(controller, -0.02, { kind: "resume" });
  near(controller.startCost("resume"), -0.02);
  near(controller.startCost("start"), usual);
});

test("a start that stalled teaches nothing", () => {
  const controller = new Controller(noCosts());
  const before = controller.costs.start;
  controller.moved("start", 0);
  controller.stalled(100);
  for (let now = 700; now < 1300; now += 100) controller.step(now, 0.9, "free");
  equal(controller.costs.start, before);
});

test("a slow seek is allowed for at once, a quick one by and by", () => {
  const controller = new Controller(noCosts());
  const atFirst = controller.seekAllowance;
  controller.landed(2);
  equal(controller.seekAllowance > 2.4, true);
  for (let n = 0; n < 10; n += 1) controller.landed(0.05);
  equal(controller.seekAllowance, atFirst);
});

test("seeks that take now so long and now less are allowed for as the longest", () => {
  const controller = new Controller(noCosts());
  for (const tookS of [0.6, 0.3, 0.3, 0.6, 0.3]) controller.landed(tookS);
  equal(controller.seekAllowance >= 0.6, true);
});

/** A seek while it plays that takes so long; it is planned for what is known. */
function seek(controller, tookS) {
  const miss = tookS - controller.costs.seek;
  controller.moved("seek", 0);
  for (let now = 100; now < 2000; now += 100) controller.moving(now);
  for (let now = 2000; now <= 2300; now += 100) controller.step(now, miss, "steps");
}

test("what a seek takes on a player that cannot wait is known after the first", () => {
  const controller = new Controller(noCosts(), { seekBeyondS: 1, cooldownMs: 3000 });
  seek(controller, 1.5);
  near(controller.costs.seek, 1.5);
  for (let n = 0; n < 10; n += 1) seek(controller, 0.1);
  equal(controller.costs.seek < 0.2, true, `${controller.costs.seek}`);
  seek(controller, 20);
  equal(controller.costs.seek < 0.2, true, "that was a line that was away");
});

test("a room that moves on meanwhile is not what a seek takes", () => {
  const controller = new Controller(noCosts(), { seekBeyondS: 1, cooldownMs: 3000 });
  controller.moved("seek", 0);
  controller.ordered(100, 0.8);
  for (let now = 1000; now <= 1300; now += 100) controller.step(now, 2.3, "steps");
  near(controller.costs.seek, 1.5);
});

test("three seeks in ten seconds: the line cannot keep up, and further ones are rare", () => {
  // Each seek lands two seconds behind again.
  const player = new Simulated(2, { seekMiss: () => 2 }).run(60);
  equal(player.controller.isStruggling, true);
  equal(player.seeks <= 5, true, `${player.seeks} seeks in a minute`);
});

test("one that struggles and then keeps up is held closely again", () => {
  const player = new Simulated(2, { seekMiss: () => 2 }).run(15);
  player.seekMiss = () => 0;
  player.error = 0;
  player.run(30);
  equal(player.controller.isStruggling, false);
});

test("a speed that does not help is not tried again", () => {
  const player = new Simulated(0.1, { obeys: false }).run(120);
  equal(player.controller.costs.isRateless, true);
  const { writes } = player.controller;
  player.run(120);
  equal(player.controller.writes, writes);
});

test("a player without fine speeds is sought beyond its own tolerance only, with its own pause", () => {
  const limits = { seekBeyondS: 8, cooldownMs: 15_000 };
  const near = new Simulated(7, { rate: "none", limits }).run(30);
  equal([near.seeks, near.controller.writes], [0, 0]);
  const far = new Simulated(9, { rate: "none", limits, seekMiss: () => 9 }).run(29);
  equal(far.seeks, 2);
});

test("what is not a number is nothing", () => {
  const controller = new Controller(noCosts());
  for (let now = 1000; now < 3000; now += 100) equal(controller.step(now, NaN, "free"), null);
});

test("an error that turns out larger than it was taken for is bent away anew, and nobody is called helpless for it", () => {
  const player = new Simulated(0.05);
  player.run(2);
  for (let n = 0; n < 3; n += 1) {
    player.error = 0.4;
    player.run(2);
    equal(player.speed > 1.02, true, `${player.speed}`);
    player.run(20);
    equal(Math.abs(player.error) < 0.01, true, `${player.error}`);
    player.error = 0.05;
    player.run(1);
  }
  equal(player.seeks, 0);
});
