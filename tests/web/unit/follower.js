const { Follower } = await import("/client/v1.js");

/** A player that does as it is told, when the test says so. */
class Fake extends EventTarget {
  currentTime = 0;
  duration = 3600;
  paused = true;
  seeking = false;
  stalled = false;
  playbackRate = 1;
  told = [];

  async play() {
    this.told.push("play");
    if (this.refuses) throw new DOMException("no", "NotAllowedError");
  }
  pause() { this.told.push("pause"); }
  seek(seconds) {
    this.told.push(`seek ${seconds.toFixed(1)}`);
    this.seeking = true;
    this.aim = seconds;
  }

  does(type) {
    if (type === "play") this.paused = false;
    if (type === "pause") this.paused = true;
    if (type === "seeked") {
      this.seeking = false;
      this.currentTime = this.aim ?? this.currentTime;
    }
    this.dispatchEvent(new Event(type));
  }
}

const LIMITS = { control: "commands", drift_ms: 1500, cooldown_ms: 1500 };

/** A follower of a fake player, on a clock the test turns. */
function scene({ limits = LIMITS, visible = true, player = new Fake() } = {}) {
  const it = { now: 1_000_000, player, isVisible: visible, acts: [], heard: [] };
  it.follower = new Follower(player, {
    serverNow: () => it.now, localNow: () => it.now, limits, isVisible: () => it.isVisible,
  });
  it.follower.addEventListener("act", ({ detail }) => it.acts.push(detail.kind));
  for (const type of ["blocked", "speed", "starving", "fed", "short", "silent"]) it.follower.addEventListener(type, () => it.heard.push(type));
  it.pass = (ms) => {
    for (let n = 0; n < ms / 100; n += 1) {
      it.now += 100;
      if (!player.paused && !player.seeking && !player.stalled) player.currentTime += 0.1 * player.playbackRate;
      it.follower.tick();
    }
  };
  it.plays = (at) => ({ is_playing: true, position_ms: at * 1000, at_ms: it.now, hold: null });
  it.rests = (at) => ({ is_playing: false, position_ms: at * 1000, at_ms: it.now, hold: null });
  /** In a room that plays at `at`, on its place and settled. */
  it.inPlay = (at) => {
    it.follower.apply(it.rests(at));
    player.does("ready");
    player.does("seeked");
    it.follower.apply(it.plays(at));
    player.does("play");
    it.pass(4000);
    player.told.length = 0;
    return it;
  };
  return it;
}

test("a paused room: the picture is brought into place once", () => {
  const it = scene();
  it.follower.apply(it.rests(30));
  it.player.does("ready");
  equal(it.player.told, ["seek 30.0"]);
  it.pass(500);
  it.player.does("seeked");
  it.pass(5000);
  equal(it.player.told, ["seek 30.0"]);
  equal(it.acts, []);
});

test("a player that is not ready is not told anything", () => {
  const it = scene();
  it.follower.apply(it.plays(30));
  it.pass(5000);
  equal(it.player.told, []);
});

test("joining a playing room is one seek, ahead of the room, and a start", () => {
  const it = scene();
  it.follower.apply(it.plays(30));
  it.player.does("ready");
  equal(it.player.told.length, 1);
  equal(it.player.aim > 30, true);
  it.now += 1000;
  it.player.does("seeked");
  equal(it.player.told.at(-1), "play");
  it.player.does("play");
  it.pass(3000);
  equal(it.player.told.length, 2);
  equal(it.acts, []);
});

test("a player that fails on its way comes there by order, however long it takes", () => {
  const it = scene().inPlay(100);
  it.follower.apply(it.plays(300));
  it.player.does("pause");
  // It is loaded anew, and says nothing of a seek until it has been.
  it.player.seek = (seconds) => {
    it.player.told.push(`seek ${seconds.toFixed(1)}`);
    it.player.aim = seconds;
  };
  it.player.seeking = false;
  it.player.stalled = true;
  it.player.does("error");
  it.pass(5000);
  // The room waits for it, where it was when that was said.
  it.follower.isHolding = true;
  it.follower.apply({ ...it.rests(305), hold: "buffering" });
  it.pass(30_000);
  it.player.stalled = false;
  it.player.does("timeupdate");
  it.player.does("seeked");
  it.pass(1000);
  equal(it.acts, []);
  equal(it.player.told.at(-1), "seek 305.0");
});

test("a player that was sent further than its stream goes starts from where it came to", () => {
  const it = scene().inPlay(100);
  // So much is allowed for that it is sent beyond the edge.
  it.follower.controller.landed(4);
  it.follower.apply(it.plays(130));
  equal(it.player.aim > 134, true);
  it.player.aim = 131;
  it.player.does("pause");
  it.pass(1000);
  it.player.does("seeked");
  equal(it.player.told.at(-1), "play");
});

test("a seek that takes five seconds is still ours", () => {
  const it = scene().inPlay(30);
  it.follower.apply(it.plays(300));
  it.pass(5000);
  it.player.does("pause");
  it.player.does("seeked");
  equal(it.acts, []);
});

test("the person's own clicks are theirs", () => {
  const it = scene().inPlay(30);
  it.player.does("pause");
  equal(it.acts, ["pause"]);
  it.player.aim = 100;
  it.player.does("seeked");
  equal(it.acts, ["pause", "seek"]);
});

test("what the room says anyway is nobody's wish", () => {
  const it = scene().inPlay(30);
  it.player.does("play");
  equal(it.acts, []);
});

test("a tab that nobody sees has no wishes", () => {
  const it = scene().inPlay(30);
  it.isVisible = false;
  it.player.does("pause");
  equal(it.acts, []);
  it.pass(6000);
  equal(it.player.told.length > 0, true, "it is brought back by itself");
});

test("a pause at the end and one for want of data are nobody's", () => {
  const it = scene().inPlay(30);
  it.player.stalled = true;
  it.player.does("pause");
  equal(it.acts, []);
  const end = scene();
  end.player.duration = 35;
  end.inPlay(30);
  end.player.currentTime = 34.9;
  end.player.does("pause");
  equal(end.acts, []);
});

test("a person who went their own way is left alone, and comes back when they want", () => {
  const it = scene().inPlay(30);
  it.player.does("pause");
  it.follower.detach();
  it.player.told.length = 0;
  it.pass(10_000);
  it.follower.apply(it.plays(500));
  equal(it.player.told, []);
  it.follower.rejoin();
  equal(it.player.told.length > 0, true);
});

test("a browser that wants a click is asked for one, once, and nothing is tried meanwhile", async () => {
  const it = scene();
  it.player.refuses = true;
  it.follower.apply(it.rests(0));
  it.player.does("ready");
  it.follower.apply(it.plays(0));
  await Promise.resolve();
  await Promise.resolve();
  it.pass(10_000);
  equal(it.heard.filter((type) => type === "blocked").length, 1);
  equal(it.player.told.filter((told) => told === "play").length, 1);
  it.player.refuses = false;
  it.follower.rejoin();
  equal(it.player.told.length > 1, true, "after the click");
});

test("an appointment is waited for", () => {
  const it = scene();
  it.follower.apply(it.rests(0));
  it.player.does("ready");
  it.follower.apply({ ...it.plays(0), at_ms: it.now + 10_000 });
  it.pass(3000);
  equal(it.player.told, []);
});

test("nobody is sought in the last second, and nothing is started after the end", () => {
  const it = scene();
  it.player.duration = 120;
  it.inPlay(115);
  it.pass(1000);
  it.player.does("ended");
  it.player.paused = true;
  it.pass(20_000);
  equal(it.player.told, []);
  equal(it.follower.hasEnded, true);
});

test("a room that is put to the end takes those with it who are far from it, and leaves alone who comes to it anyway", () => {
  for (const isPlaying of [false, true]) {
    const it = scene();
    it.player.duration = 120;
    it.inPlay(23);
    it.follower.apply(isPlaying ? it.plays(120) : it.rests(120));
    it.pass(200);
    equal(it.player.told, ["pause", "seek 119.8"]);
    it.player.does("pause");
    it.player.does("seeked");
    it.pass(5000);
    equal([it.player.told.length, it.acts, it.follower.hasEnded], [2, [], true]);
    // Whoever goes back from there plays again.
    it.follower.apply(it.plays(50));
    it.pass(200);
    equal(it.player.told.length > 2, true, it.player.told.join());
  }
  const near = scene();
  near.player.duration = 120;
  near.inPlay(119.2);
  near.follower.apply(near.rests(120));
  near.pass(500);
  equal(near.player.told, []);
});

test("what a broken player took until it could be mended is not what it takes", () => {
  const it = scene();
  it.follower.apply(it.rests(10));
  const before = it.follower.controller.seekAllowance;
  it.player.does("error");
  it.pass(6000);
  it.player.does("ready");
  equal(it.follower.controller.seekAllowance, before);
  // Nor is what it took to come to where it was sent.
  const sent = scene().inPlay(30);
  const known = sent.follower.controller.seekAllowance;
  sent.follower.apply(sent.plays(60));
  sent.pass(100);
  sent.player.does("error");
  sent.pass(5000);
  sent.player.does("pause");
  sent.player.does("seeked");
  sent.pass(500);
  equal(sent.follower.controller.seekAllowance, known);
});

test("where seeks take long, a start that is a little late is bent and not sought", () => {
  const late = (costs) => {
    const it = scene();
    it.follower.apply(it.rests(30));
    it.player.does("ready");
    it.player.does("seeked");
    it.follower.controller.costs.seek = costs;
    // The news of the start came so late.
    it.follower.apply({ ...it.plays(30), at_ms: it.now - 300 });
    return it.player.told.slice(1).map((order) => order.split(" ")[0]);
  };
  equal(late(0.2), ["seek"], "a seek mends it sooner");
  equal(late(5), ["play"], "bending does");
});

test("a room past the end of a shorter video: the last picture, once", () => {
  const it = scene();
  it.player.duration = 60;
  it.follower.apply(it.plays(500));
  it.player.does("ready");
  it.player.does("seeked");
  it.pass(10_000);
  equal(it.player.told, ["seek 59.8"]);
  equal(it.follower.hasEnded, true);
});

test("a starving player says so once, and once when it is fed", () => {
  const it = scene().inPlay(30);
  it.player.stalled = true;
  it.pass(10_000);
  equal(it.heard, ["starving"]);
  it.player.stalled = false;
  it.pass(1000);
  equal(it.heard, ["starving", "fed"]);
});

test("a hiccup is not starving", () => {
  const it = scene().inPlay(30);
  for (let n = 0; n < 10; n += 1) {
    it.player.stalled = true;
    it.pass(500);
    it.player.stalled = false;
    it.pass(500);
  }
  equal(it.heard, []);
});

test("whom the room waits for is left alone until it has something to show", () => {
  const it = scene().inPlay(30);
  it.player.stalled = true;
  it.follower.isHolding = true;
  it.follower.apply({ ...it.rests(31), hold: "buffering" });
  it.pass(2000);
  equal(it.player.told, []);
});

/** A room that waits for this player, at `at`. */
function held(it, at) {
  it.follower.isLeader = true;
  it.player.stalled = true;
  it.pass(1000);
  it.follower.isHolding = true;
  it.follower.apply({ ...it.rests(at), hold: "buffering" });
  it.pass(1000);
}

test("whom the room waits for is fed when its picture is where the room is", () => {
  const it = scene().inPlay(30);
  held(it, 36);
  it.player.stalled = false;
  it.pass(500);
  equal(it.player.told, ["pause"]);
  it.player.does("pause");
  it.pass(500);
  equal(it.player.told, ["pause", "seek 36.0"]);
  it.pass(500);
  equal([it.heard, it.follower.canGoOn], [["starving"], false]);
  it.player.does("seeked");
  it.pass(200);
  equal([it.heard, it.follower.canGoOn], [["starving", "fed"], true]);
  equal(it.acts, []);
});

test("each time it starves again, it has to have had enough for longer", () => {
  const it = scene().inPlay(30);
  const waits = [];
  for (let n = 0; n < 4; n += 1) {
    held(it, 36 + n);
    it.player.stalled = false;
    it.player.does("pause");
    it.pass(200);
    it.player.does("seeked");
    let waited = 0;
    for (; !it.follower.canGoOn; waited += 1) it.pass(1000);
    waits.push(waited);
    it.follower.apply(it.plays(36 + n));
    it.player.does("play");
    it.pass(2000);
  }
  equal(waits[0] <= 1 && waits[1] >= 4 && waits[2] >= 9 && waits[3] >= 19, true, `${waits}`);
});

test("a player that is taken down and says that its speed is another is not told off", () => {
  const it = scene().inPlay(30);
  it.follower.stop();
  it.player.playbackRate = 1.08;
  it.player.does("ratechange");
  equal(it.heard, []);
});

test("who goes back from the end with the player's own bar is there no more", () => {
  const it = scene();
  it.player.duration = 120;
  it.inPlay(119.5);
  it.player.currentTime = 120;
  it.player.does("pause");
  it.player.does("ended");
  equal(it.follower.ranOut, true);
  it.player.aim = 60;
  it.player.does("seeked");
  equal([it.follower.ranOut, it.acts], [false, ["seek"]]);
});

test("another speed is put back, and said", () => {
  const it = scene().inPlay(30);
  it.player.playbackRate = 2;
  it.player.does("ratechange");
  equal(it.player.playbackRate, 1);
  equal(it.heard, ["speed"]);
});

test("twenty seconds without a word are told once", () => {
  const it = scene();
  it.follower.apply(it.plays(0));
  it.pass(19_000);
  equal(it.heard, []);
  it.pass(30_000);
  equal(it.heard, ["silent"]);
});

test("what the person did is not undone by the answer to an older order", () => {
  const it = scene().inPlay(30);
  it.player.aim = 500;
  it.player.does("seeked");
  it.follower.claim();
  it.follower.apply(it.plays(60));
  it.pass(500);
  equal(it.player.told, []);
  it.follower.apply(it.plays(500.6));
  it.pass(3000);
  equal(it.player.told, []);
});

test("an order of somebody else does not undo where the person's hand is on its way to, for as long as seeks take", () => {
  for (const order of [(it) => it.plays(90), (it) => it.rests(90)]) {
    const it = scene().inPlay(30);
    it.player.seeking = true;
    it.pass(1000);
    it.follower.apply(order(it));
    it.pass(1000);
    equal(it.player.told.filter((told) => told.startsWith("seek")), []);
    it.player.aim = 500;
    it.player.does("seeked");
    equal(it.acts, ["seek"]);
  }
  const it = scene().inPlay(30);
  it.player.seeking = true;
  it.pass(6000);
  it.follower.apply(it.plays(90));
  equal(it.player.told.filter((told) => told.startsWith("seek")).length, 1, "one that never comes is sent where the room is");
});

test("a paused player that does not come to where the person sent it starves, and says so", () => {
  const it = scene();
  it.follower.apply(it.rests(30));
  it.player.does("ready");
  it.player.does("seeked");
  it.player.seeking = true;
  it.pass(5000);
  equal(it.heard, []);
  it.pass(1000);
  equal(it.heard, ["starving"]);
});

test("what a frame reports just after its person came back was before that", () => {
  const it = scene().inPlay(30);
  it.follower.detach();
  it.follower.rejoin();
  it.pass(200);
  it.player.aim = 500;
  it.player.does("seeked");
  equal(it.acts, []);
  it.pass(1000);
  equal(it.player.told.at(-1).startsWith("seek 3"), true, `back to the room: ${it.player.told}`);
  it.player.does("seeked");
  it.player.aim = 700;
  it.player.does("seeked");
  equal(it.acts, ["seek"], "later it is a wish");
});

test("a leader that cannot be bent is not sought: the room goes by it", () => {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "none" });
  const it = scene({ player }).inPlay(30);
  it.follower.isLeader = true;
  player.currentTime -= 5;
  it.pass(20_000);
  equal(player.told, []);
});

test("a player that loads anew is not moved for a second, nor while it loads", () => {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "none" });
  const it = scene({ player, limits: { control: "reload", drift_ms: 8000, cooldown_ms: 15_000 } }).inPlay(30);
  player.currentTime -= 5;
  it.pass(20_000);
  equal(player.told, []);
  player.currentTime -= 10;
  it.pass(3000);
  equal(player.told.length, 1);
  it.pass(60_000);
  equal(player.told.length, 1, "still loading");
});

test("a player that was sent somewhere is told to play earlier than one that only paused", () => {
  const start = (isSought) => {
    const it = scene().inPlay(30);
    it.follower.controller.costs.start = [0.15, 0.15];
    it.follower.controller.costs.resume = [0, 0];
    it.follower.apply(it.rests(isSought ? 60 : 34));
    it.player.does("pause");
    it.pass(200);
    if (isSought) it.player.does("seeked");
    it.player.told.length = 0;
    it.follower.apply({ ...it.plays(isSought ? 60 : 34), at_ms: it.now + 100 });
    return it.player.told;
  };
  equal([start(true), start(false)], [["play"], []]);
});

test("a hand on the player's own bar pauses, seeks and plays: each is an order, before the room has answered the first", () => {
  const it = scene().inPlay(30);
  it.follower.isLeader = true;
  it.follower.addEventListener("act", ({ detail }) => it.follower.claim({ play: true, pause: false }[detail.kind]));
  it.player.does("pause");
  it.player.aim = 60;
  it.player.does("seeked");
  it.player.does("play");
  equal(it.acts, ["pause", "seek", "play"]);
  // The room's answers come one by one; only the last is what the person wants.
  it.follower.apply(it.rests(34));
  it.follower.apply(it.rests(60));
  equal(it.player.told, []);
  it.follower.apply(it.plays(60));
  it.pass(1000);
  equal(it.player.told, []);
});

test("a player that is paused and has not said so yet is not told to play", () => {
  const it = scene().inPlay(30);
  it.player.paused = true;
  it.pass(200);
  equal(it.player.told, []);
  it.player.does("pause");
  equal(it.acts, ["pause"]);
});

test("a player that is paused and never says so is told to play", () => {
  const it = scene().inPlay(30);
  it.player.paused = true;
  it.pass(500);
  equal(it.player.told.length, 1, `${it.player.told}`);
});

test("a file that ends before its time is left at its end until somebody moves the room", () => {
  const it = scene().inPlay(30);
  it.player.paused = true;
  it.player.does("ended");
  it.pass(20_000);
  equal([it.player.told, it.acts, it.follower.ranOut], [[], [], true]);
  it.follower.apply(it.plays(0));
  equal(it.player.told.at(-1).startsWith("seek 0."), true, `${it.player.told}`);
});

test("who pauses while the room waits for them is heard, unless a frame may have paused by itself", () => {
  for (const [rate, acts] of [["free", ["pause"]], ["none", []]]) {
    const player = new Fake();
    Object.defineProperty(player, "rate", { value: rate });
    const it = scene({ player }).inPlay(30);
    player.stalled = true;
    it.pass(1000);
    it.follower.isHolding = true;
    it.follower.apply({ ...it.rests(34), hold: "buffering" });
    player.does("pause");
    equal(it.acts, acts, rate);
  }
});

test("a file that comes slowly is starving and not silent, however long it is on its way", () => {
  const it = scene().inPlay(30);
  it.follower.apply(it.plays(300));
  it.pass(40_000);
  equal(it.heard, ["starving"]);
});

test("who was at the end on their own is not when they come back", () => {
  const it = scene().inPlay(30);
  it.follower.detach();
  it.player.currentTime = 3600;
  it.player.does("ended");
  equal(it.follower.ranOut, true);
  it.follower.rejoin();
  equal([it.follower.ranOut, it.player.told.at(-2)?.slice(0, 6) ?? it.player.told.at(-1)], [false, "pause"], `${it.player.told}`);
});

test("a file that ends before the time it said says so", () => {
  const it = scene().inPlay(30);
  // What is missing is known to the browser only when it is needed.
  it.player.duration = it.player.currentTime;
  it.player.does("ended");
  equal(it.heard, ["short"]);
  const jumping = scene().inPlay(30);
  jumping.player.currentTime = 3600;
  jumping.player.does("ended");
  equal(jumping.heard, ["short"], "or its player jumps to where it should end");
  const whole = scene().inPlay(30);
  whole.player.aim = 3599.2;
  whole.player.does("seeked");
  whole.player.does("ended");
  equal(whole.heard, []);
});

test("whoever comes back to the room comes back to its speed", () => {
  const it = scene().inPlay(30);
  it.follower.detach();
  it.player.playbackRate = 2;
  it.player.does("ratechange");
  equal(it.player.playbackRate, 2);
  it.follower.rejoin();
  equal(it.player.playbackRate, 1);
});

/** Starves a player in play, and has it where it is sent when the room comes by. Answers how far ahead that was, in seconds. */
function starved(it, isThereMs = undefined) {
  it.player.told.length = 0;
  it.player.stalled = true;
  it.pass(2000);
  it.player.stalled = false;
  it.pass(1000);
  equal(it.player.told.slice(0, 2).map((told) => told.slice(0, 5)), ["pause", "seek "], `${it.player.told}`);
  it.player.does("pause");
  equal(it.player.playbackRate, 1, "going faster would only empty it sooner");
  const aheadS = it.player.aim - (it.player.currentTime + it.follower.error);
  it.pass(isThereMs ?? aheadS * 1000);
  it.player.does("seeked");
  return aheadS;
}

test("a viewer who starves again and again loads ahead of the room, each time more, and what they see is in its place", () => {
  const it = scene().inPlay(30);
  const aheads = [0, 1, 2, 3].map(() => {
    const aheadS = starved(it);
    equal(it.player.told.at(-1), "play");
    it.player.does("play");
    equal([Math.abs(it.follower.error) < 0.2, it.follower.isLoadingAhead, it.follower.isStruggling], [true, false, false]);
    it.pass(3000);
    return aheadS;
  });
  equal(aheads[0] < 1 && aheads[1] > 3 && aheads[2] > aheads[1] + 3 && aheads[3] > aheads[2] + 3, true, `${aheads}`);
});

test("one that waits ahead of the room for what it loads has neither failed nor run dry", () => {
  const it = scene().inPlay(30);
  for (let n = 0; n < 3; n += 1) {
    starved(it);
    it.player.does("play");
    it.pass(3000);
  }
  starved(it, 500);
  it.heard.length = 0;
  it.player.told.length = 0;
  it.player.stalled = true;
  it.pass(15_000);
  equal([it.heard, it.player.told, it.follower.isLoadingAhead], [[], [], true]);
  it.follower.stop();
});

test("a frame that is not heard for a while is nowhere: it is not sought, and the room does not go by it", () => {
  for (const isLeader of [false, true]) {
    const player = new Fake();
    Object.defineProperty(player, "rate", { value: "steps" });
    const it = scene({ player }).inPlay(30);
    it.follower.isLeader = isLeader;
    player.does("timeupdate");
    it.pass(1000);
    const { currentTime } = player;
    // Its bridge counts on for no longer.
    for (let n = 0; n < 50; n += 1) {
      player.currentTime = currentTime;
      it.pass(100);
    }
    equal([it.follower.controller.error, player.told], [NaN, []]);
    // It went on all the while.
    player.currentTime = currentTime + 5.05;
    for (let n = 0; n < 20; n += 1) {
      player.does("timeupdate");
      it.pass(100);
    }
    equal([Math.abs(it.follower.controller.error) < 0.3, player.told], [true, []], `${it.follower.controller.error}`);
  }
});

test("a player that cannot wait ahead of the room and starves again is left behind with what it has", () => {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "steps" });
  const it = scene({ player }).inPlay(30);
  for (let n = 0; n < 3; n += 1) {
    it.player.stalled = true;
    it.pass(3000);
    it.player.stalled = false;
    it.pass(4000);
    if (it.player.seeking) it.player.does("seeked");
  }
  equal(it.follower.isStruggling, true);
  equal(it.player.told.filter((told) => told.startsWith("seek")).length <= 1, true, `${it.player.told}`);
  equal(it.player.playbackRate, 1, "going faster would only empty it sooner");
});

/** A player that cannot be bent, and buffers on its way: sought, it is there at once and shows nothing for `tookMs`. */
function slowToSeek(tookMs) {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "steps" });
  const it = scene({ player, limits: { control: "commands", drift_ms: 1000, cooldown_ms: 3000 } }).inPlay(30);
  /** Does what it was told, until it is where it should be and has been there for a while. */
  it.settles = () => {
    for (let n = 0; n < 200; n += 1) {
      if (player.seeking) {
        player.does("seeked");
        player.stalled = true;
        player.does("waiting");
        it.pass(tookMs);
        player.stalled = false;
      }
      it.pass(100);
    }
  };
  it.seeks = () => player.told.splice(0).filter((told) => told.startsWith("seek")).length;
  return it;
}

for (const tookMs of [1500, 4000]) {
  test(`a player that takes ${tookMs} ms to seek is sent once for each order, when that is known`, () => {
    const it = slowToSeek(tookMs);
    it.follower.apply(it.plays(300));
    it.settles();
    equal([it.seeks(), it.heard], [2, []], "nothing was known of it");
    for (const place of [600, 200, 900]) {
      it.follower.apply(it.plays(place));
      it.settles();
      equal([it.seeks(), it.heard], [1, []], `to ${place}`);
      equal(Math.abs(it.follower.error) < 0.3, true, `${it.follower.error}`);
    }
    equal(it.follower.isStruggling, false);
  });

  test(`a leader that takes ${tookMs} ms to seek comes after the room, once`, () => {
    const it = slowToSeek(tookMs);
    it.follower.isLeader = true;
    it.follower.apply(it.plays(300));
    it.settles();
    equal([it.seeks(), it.heard], [2, []], "nothing was known of it");
    equal(Math.abs(it.follower.error) < 0.3, true, `${it.follower.error}`);
    it.follower.apply(it.plays(600));
    it.settles();
    equal([it.seeks(), it.heard], [1, []]);
  });
}

test("what a frame took to load is not what it takes to seek", () => {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "steps" });
  const it = scene({ player });
  it.follower.apply(it.plays(30));
  it.pass(4000);
  player.does("ready");
  equal(it.follower.controller.costs.seek, 0);
});

test("a room that moves a little while a player is on its way sends it nowhere else", () => {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "steps" });
  for (const it of [scene(), scene({ player })]) {
    it.inPlay(30);
    it.follower.apply(it.plays(300));
    if (it.player.told.includes("pause")) it.player.does("pause");
    it.pass(2000);
    it.follower.apply(it.plays(302.2));
    it.pass(500);
    equal(it.player.told.filter((told) => told.startsWith("seek")).length, 1, `${it.player.told}`);
  }
});

test("a seek that takes longer than seeks take is starving", () => {
  const it = scene().inPlay(30);
  it.follower.apply(it.plays(300));
  it.player.does("pause");
  it.pass(4000);
  equal(it.heard, []);
  it.pass(2000);
  equal(it.heard, ["starving"]);
});

/** A player that is loaded anew to be moved, in a room that has just begun to play. */
function toldToPlay() {
  const player = new Fake();
  Object.defineProperty(player, "rate", { value: "none" });
  const it = scene({ player, limits: { control: "reload", drift_ms: 8000, cooldown_ms: 15_000 } });
  it.follower.apply(it.rests(0));
  player.does("ready");
  it.pass(30_000);
  equal([it.heard, it.follower.canPlay], [[], true], "nothing was asked of it");
  it.follower.apply(it.plays(0));
  player.paused = false;
  player.seeking = true;
  return it;
}

test("a player that is told to play and says nothing for twenty seconds has failed, until it shows something", () => {
  const it = toldToPlay();
  it.pass(19_000);
  equal([it.heard, it.follower.canPlay], [[], true]);
  it.pass(5000);
  equal([it.heard, it.follower.hasFailed, it.follower.canPlay], [["silent", "starving"], true, false]);
  // The room waits: it is left alone, and is still no player.
  it.follower.isHolding = true;
  it.follower.apply({ ...it.rests(24), hold: "buffering" });
  it.pass(30_000);
  equal([it.heard, it.follower.canGoOn], [["silent", "starving"], false]);
  it.player.seeking = false;
  it.player.does("timeupdate");
  equal(it.follower.hasFailed, false);
  it.pass(1000);
  equal(it.player.told.at(-1), "pause");
});

test("a player that begins after nineteen seconds is no failure", () => {
  const it = toldToPlay();
  it.pass(19_000);
  it.player.seeking = false;
  it.player.currentTime = 19;
  it.player.does("timeupdate");
  it.pass(60_000);
  equal(it.heard, []);
});

test("a player that buffers for long is not silent", () => {
  const it = scene().inPlay(30);
  it.player.stalled = true;
  it.pass(60_000);
  equal(it.heard, ["starving"]);
});

test("a player that reports an error can play nothing, until it is ready or shows something again", () => {
  for (const event of ["ready", "timeupdate"]) {
    const it = scene().inPlay(30);
    equal(it.follower.canPlay, true);
    it.player.does("error");
    it.pass(1000);
    equal([it.follower.canPlay, it.follower.hasFailed, it.heard], [false, true, ["starving"]]);
    it.player.does(event);
    it.pass(1000);
    equal([it.follower.canPlay, it.follower.hasFailed, it.heard], [true, false, ["starving", "fed"]], event);
  }
});

test("a player that is not ready can play nothing", () => {
  const it = scene();
  it.follower.apply(it.rests(30));
  equal(it.follower.canPlay, false);
  it.player.does("ready");
  equal(it.follower.canPlay, true);
});

test("whoever joins is arriving until the picture is where the room is", async () => {
  const it = scene();
  it.follower.apply(it.plays(30));
  it.player.does("ready");
  it.pass(8000);
  equal([it.heard, it.follower.isArriving], [["starving"], true], "a file that is slow to come");
  it.player.does("seeked");
  it.player.does("play");
  it.pass(100);
  equal(it.follower.isArriving, true);
  // It came too late: it is sent once more, and waits there for the room (by a real timer).
  for (let n = 0; n < 20 && !it.player.seeking; n += 1) it.pass(100);
  it.player.does("pause");
  it.player.does("seeked");
  it.now -= it.follower.error * 1000;
  await new Promise((resolve) => { setTimeout(resolve, 400); });
  equal([it.player.told.at(-1), it.follower.isArriving], ["play", true]);
  it.player.does("play");
  it.pass(1000);
  equal([it.follower.isArriving, Math.abs(it.follower.error) < 0.3], [false, true], `${it.follower.error}`);
  const paused = scene();
  paused.follower.apply(paused.rests(30));
  paused.player.does("ready");
  paused.pass(500);
  equal(paused.follower.isArriving, true);
  paused.player.does("seeked");
  paused.pass(100);
  equal(paused.follower.isArriving, false);
});

test("a person's own seek is no starving, unless it takes longer than seeks take", () => {
  const it = scene().inPlay(30);
  it.player.seeking = true;
  it.pass(4000);
  equal(it.heard, []);
  it.pass(2000);
  equal(it.heard, ["starving"]);
});

test("a player that fails on its way is starving at once", () => {
  const it = scene().inPlay(30);
  it.follower.apply(it.plays(300));
  it.player.does("error");
  it.pass(1000);
  equal(it.heard, ["starving"]);
});

test("a player's speed is set no better than its provider says, and its own word may be less", () => {
  const kind = (own, most) => {
    const player = new Fake();
    if (own) player.rate = own;
    const limits = most ? { ...LIMITS, rate: most } : LIMITS;
    return scene({ player, limits }).follower.rateKind;
  };
  for (const [own, most, expected] of [
    [null, null, "free"], [null, "steps", "steps"], [null, "none", "none"], ["free", "none", "none"],
    ["steps", "free", "steps"], ["none", "steps", "none"], ["free", "free", "free"],
  ]) equal(kind(own, most), expected, `${own} of ${most}`);
  const rateless = new Fake();
  delete rateless.playbackRate;
  equal(scene({ player: rateless, limits: { ...LIMITS, rate: "free" } }).follower.rateKind, "none");
});

test("a player that cannot be bent by its provider's word is sought", () => {
  const it = scene({ limits: { ...LIMITS, rate: "none" } }).inPlay(30);
  it.player.currentTime -= 0.3;
  it.pass(3000);
  equal(it.player.playbackRate, 1);
});

test("a stream without an end has none, whatever its length is said to be", () => {
  const end = (limits, live) => {
    const player = new Fake();
    if (live !== undefined) player.live = live;
    const { follower } = scene({ player, limits: { ...LIMITS, ...limits } });
    return follower.duration;
  };
  equal([end({}), end({ live: true }), end({ live: true }, false), end({}, true)].map(String), ["3600", "Infinity", "3600", "Infinity"]);
  const it = scene({ limits: { ...LIMITS, live: true } }).inPlay(30);
  it.follower.apply(it.plays(4000));
  equal(it.follower.hasEnded, false);
});
