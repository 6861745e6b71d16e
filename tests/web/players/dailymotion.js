// A stand-in for Dailymotion's embed player, by its public SDK: orders are JSON, what it says is written like a query.
// While it shows an advertisement, and before it has said `apiready`, it does nothing that it is told.

Object.assign(player, { duration: 600, base: Number(query.get("start") ?? 0) });

const say = (event, more = {}) => tell(new URLSearchParams({ event, id: query.get("id"), ...more }).toString(), query.get("origin"));
const where = () => ({ time: player.shownTime.toFixed(3) });

let isReady = false;

player.changed = (what) => {
  switch (what) {
    case "play": say("play"); break;
    case "playing":
      if (!player.hasSaidStart) say("video_start");
      player.hasSaidStart = true;
      say("playing");
      break;
    case "pause": say("pause"); break;
    case "seeking":
      say("seeking", where());
      if (switches.seekMs) say("waiting");
      break;
    case "seeked":
      say("seeked", where());
      if (switches.seekMs && !player.paused) say("playing");
      break;
    case "stall": say("waiting"); break;
    case "fed": say("playing"); break;
    case "advert": say("ad_start"); break;
    case "resumed":
      say("ad_end");
      say("playing");
      break;
    case "duration": say("durationchange", { duration: player.duration }); break;
    case "ended":
      say("video_end");
      say("end");
      break;
    case "timeupdate":
      if (player.advert) say("ad_timeupdate", { time: ((performance.now() - player.advert.fromMs) / 1000).toFixed(3) });
      else say("timeupdate", where());
      break;
  }
};

player.fail = (code) => say("error", { code, title: "Content deleted.", message: "The owner has removed this video." });

player.shapes = (value) => [
  // A time that means nothing; an event that says something by its name alone would be no junk.
  new URLSearchParams({ event: "timeupdate", time: value }).toString(),
  new URLSearchParams({ event: "volumechange", volume: value, muted: value }).toString(),
  new URLSearchParams({ event: "nonsense", time: value }).toString(),
  JSON.stringify({ event: "timeupdate", time: value }), { event: "timeupdate", time: value }, { event: value, time: value },
];

const COMMANDS = {
  play: () => { if (!switches.wantsClick) player.play(); },
  pause: () => player.pause(),
  seek: (seconds) => player.seek(seconds),
  volume: (volume) => say("volumechange", { volume, muted: player.isMuted }),
  muted: (isMuted) => {
    player.isMuted = isMuted;
    say("volumechange", { volume: player.volume, muted: isMuted });
  },
};

addEventListener("message", ({ data, origin }) => {
  if (!isReady || origin !== query.get("origin")) return;
  const { command, parameters } = JSON.parse(data);
  player.told.push([command, ...parameters]);
  obey(() => { if (!player.advert && !switches.ignores.includes(command)) COMMANDS[command]?.(...parameters); });
});

untilReady.then(() => {
  isReady = query.get("api") === "postMessage";
  if (!isReady) return;
  say("apiready");
  say("durationchange", { duration: player.duration });
  if (query.get("autoplay") === "true" && !switches.wantsClick) setTimeout(() => player.play(), 50);
});
