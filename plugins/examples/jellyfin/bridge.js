// A Jellyfin server's file in a page: the browser's own <video>, which has nearly every part of a player already.
import { VideoPlayer } from "/bridge/v1.js";

const ERRORS = {
  2: "the connection to the server was lost",
  3: "the file is damaged, or this browser cannot decode it",
  4: "the server does not give this film, or this browser cannot play its format",
};

class Jellyfin extends VideoPlayer {
  constructor(stage, { url }) {
    super();
    const { video } = this;
    video.addEventListener("loadedmetadata", () => this.emit("ready"));
    // The browser's own words have the address in them, and so the key.
    video.addEventListener("error", () => this.emit("error", ERRORS[video.error?.code] ?? "the film cannot be played"));
    video.src = url;
    stage.append(video);
  }
}

export default function mount(stage, options) {
  return new Jellyfin(stage, options);
}
