/**
 * StreamIt's client, version 1: what the built-in pages are made of, for any other front end.
 *
 * ```js
 * import { Connection, Follower, localMs } from "https://party.example/client/v1.js";
 *
 * const room = new Connection("K7QM2X", { name: "Ann" });
 * room.addEventListener("state", ({ detail }) => show(detail));
 * room.open();
 * ```
 *
 * - `Connection`: the socket. HELLO, the newest STATE, the server's clock, a dead line, coming back.
 * - `Follower`: holds a player (anything like an HTMLMediaElement, see `/bridge/v1.js`) to the room.
 * - `positionAt`, `isOver`: the timeline, for those who hold a player themselves.
 * - `Controller`, `Orders`, `Hunger`, `ServerClock`, `StepWatch`, `Line`: the parts, pure, with the moment as an argument.
 *
 * Nothing here is kept outside the objects one makes, so several rooms, and several copies of this module, live in one page.
 * Positions of players are in seconds, moments and everything on the wire in milliseconds.
 * @module
 */
export { Connection, PROTOCOL, localMs } from "./connection.js";
export { Follower, SILENT_MS } from "./follower.js";
export { Hunger, STARVING_MS } from "./hunger.js";
export { Controller, noCosts } from "./controller.js";
export { Orders } from "./orders.js";
export { ServerClock, StepWatch } from "./clock.js";
export { Line } from "./line.js";
export { positionAt, isOver, isSamePlayback } from "./timeline.js";
