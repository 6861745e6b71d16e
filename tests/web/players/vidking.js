// A stand-in for Vidking's player: it reports as JSON strings and takes no commands. `progress`, in seconds, and
// `autoPlay` in its address are all there is.

Object.assign(player, { duration: 7200, base: Number(query.get("progress") ?? 0) });

const EVENTS = new Set(["timeupdate", "play", "pause", "ended", "seeked"]);

const report = (event, currentTime) => ({ type: "PLAYER_EVENT", data: {
  event, currentTime, duration: player.duration, progress: (currentTime / player.duration) * 100, id: "1078605",
  mediaType: "movie", season: 1, episode: 8, timestamp: Date.now() } });

player.changed = (event) => {
  if (EVENTS.has(event)) tell(JSON.stringify(report(event, player.shownTime)));
};

player.fail = () => {};

player.shapes = (value) => [
  ...["timeupdate", "nonsense", value].map((event) => ({ type: "PLAYER_EVENT", data: { event, currentTime: value, duration: value } })),
  { type: "PLAYER_EVENT", data: value }, { type: value, data: value }, { data: value },
  JSON.stringify({ type: "PLAYER_EVENT", data: { event: "timeupdate", currentTime: value } }),
];

untilReady.then(() => {
  if (query.get("autoPlay") === "true" && !switches.wantsClick) setTimeout(() => player.play(), 100);
});
