// Sends everyone what the host says, and a newcomer the newest of it.
const { WebSocketServer } = require("ws");

const [port, first] = process.argv.slice(2);
let newest = first;
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data) => {
    const text = data.toString();
    if (text === "hello") {
      socket.send(newest);
      return;
    }
    newest = text;
    for (const client of server.clients) client.send(newest);
  });
});
