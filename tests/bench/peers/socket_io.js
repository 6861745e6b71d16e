// Sends everyone what the host says, and a newcomer the newest of it.
const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");

const [port, url, first] = process.argv.slice(2);
let newest = JSON.parse(first);

(async () => {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const http = createServer();
  const server = new Server(http, { transports: ["websocket"], adapter: createAdapter(publisher, subscriber) });
  server.on("connection", (socket) => {
    socket.join("room");
    socket.on("hello", () => socket.emit("state", newest));
    socket.on("order", (order) => {
      newest = order;
      server.to("room").emit("state", newest);
    });
  });
  http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
})();
