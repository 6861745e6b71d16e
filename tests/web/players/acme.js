// The player that the example plugin's bridge is written for. There is none, so its messages are made up.

Object.assign(player, { duration: 600, base: Number(query.get("start") ?? 0) });

/** What it calls what happens to it. */
const EVENTS = {
  timeupdate: "timeupdate", play: "play", pause: "pause", ended: "ended", seeked: "seeked", playing: "playing",
  stall: "waiting", advert: "waiting", fed: "playing", resumed: "playing", duration: "timeupdate",
};

player.changed = (event) => {
  if (EVENTS[event]) tell({ event: EVENTS[event], seconds: player.shownTime, duration: player.duration });
};

untilReady.then(() => tell({ event: "ready", seconds: player.shownTime, duration: player.duration }));

player.fail = () => {};
player.shapes = (value) => [
  { event: "timeupdate", seconds: value, duration: value }, { event: value, seconds: value }, { event: "nonsense", seconds: value },
];

addEventListener("message", ({ data }) => obey(() => {
  player.told.push(data);
  if (switches.ignores.includes(data?.command)) return;
  if (data?.command === "play" && !switches.wantsClick) player.play();
  if (data?.command === "pause") player.pause();
  if (data?.command === "seek") player.seek(data.seconds);
}));

if (query.get("autoplay") === "1") setTimeout(() => player.play(), 50);
