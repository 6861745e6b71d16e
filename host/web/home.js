// The home page: make a room, or find one.
import { request, storeKey } from "/assets/api.js";
import { MediaForm } from "/assets/media-form.js";

const $ = (id) => document.getElementById(id);
const LIST_EVERY_MS = 5000;

const form = new MediaForm($("media"));

async function start() {
  try {
    const { providers } = await request("GET", "/providers");
    form.offer(providers);
    $("submit").disabled = form.isEmpty;
  } catch (error) {
    $("form-error").textContent = error.message;
  }
  showRooms();
  setInterval(showRooms, LIST_EVERY_MS);
}

$("create").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("form-error").textContent = "";
  $("create").querySelector('[data-error="title"]').textContent = "";
  const source = form.read();
  if (!source) return;
  $("submit").disabled = true;
  try {
    const body = {
      source,
      visibility: $("public").checked ? "public" : "unlisted",
      title: $("title").value.trim() || undefined,
    };
    const { room, host_key } = await request("POST", "/rooms", { body });
    storeKey(room.code, host_key);
    // Without storage the key would be lost on the way: the link carries it, and the room page takes it off again.
    location.assign(`/r/${room.code}#key=${host_key}`);
  } catch (error) {
    const rest = form.showErrors(error.errors).filter(({ field, message }) => {
      const place = $("create").querySelector(`[data-error="${CSS.escape(field)}"]`);
      if (place) place.textContent = message;
      return !place;
    });
    if (rest.length || !error.errors?.length) $("form-error").textContent = error.message;
    $("submit").disabled = false;
  }
});

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const code = $("code").value.trim();
  if (code) location.assign(`/r/${encodeURIComponent(code.toUpperCase())}`);
});

async function showRooms() {
  if (document.hidden) return;
  let rooms;
  try {
    ({ rooms } = await request("GET", "/rooms?limit=50"));
  } catch {
    return; // the next try says more than a message would
  }
  $("no-rooms").hidden = rooms.length > 0;
  $("rooms").replaceChildren(...rooms.map((room) => {
    const { code, title, source, presence } = room;
    const link = document.createElement("a");
    link.href = `/r/${code}`;
    const name = document.createElement("strong");
    name.textContent = title ?? describe(source);
    const about = document.createElement("span");
    about.textContent = title ? describe(source) : source.provider;
    const count = document.createElement("span");
    count.className = "pill";
    count.textContent = `${presence.viewers} watching`;
    link.append(name, about, count);
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
}

function describe({ external_id, season, episode }) {
  return season === null ? external_id : `${external_id} · S${season} E${episode}`;
}

start();
