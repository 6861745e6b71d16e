// Acme in a page: the player in its frame, behind a small HTMLMediaElement. The messages below are made up; put those of
// the real player in their place. FramePlayer has checked the frame and the origin of whatever `receive` gets.
//
// What the player says is passed on as it is, whoever wished it: the page tells its own orders from the person's.
import { FramePlayer, withParams } from "/bridge/v1.js";

class Player extends FramePlayer {
  constructor(stage, options) {
    super(stage, options);
    const { url, params, startAt, autoplay } = options;
    this.load(withParams(url, { ...params, start: Math.floor(startAt || 0), autoplay: autoplay ? 1 : 0 }));
  }

  async play() {
    this.post({ command: "play" });
  }

  pause() {
    this.post({ command: "pause" });
  }

  seek(seconds) {
    // Until it says that it is there, what it reports is of where it was.
    this.aim(seconds);
    this.post({ command: "seek", seconds });
  }

  receive({ event, seconds, duration }) {
    this.reportDuration(duration);
    if (event === "seeked") this.reportSeeked(seconds);
    else this.report(seconds);
    switch (event) {
      case "ready":
      case "timeupdate":
        this.emit(event);
        break;
      case "play":
        this.reportPaused(false);
        break;
      case "pause":
        this.reportPaused(true);
        break;
      case "ended":
        this.reportPaused(true);
        this.emit("ended");
        break;
      case "waiting":
        this.reportStalled(true);
        break;
      case "playing":
        this.reportStalled(false);
        break;
    }
  }
}

export default function mount(stage, options) {
  return new Player(stage, options);
}
