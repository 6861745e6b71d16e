// The home page: make a room, or find one.
import { request, storeKey } from "./api.js";
import { $, at, codeIn, describe, put, typed } from "./page.js";
import { SourceForm } from "./source-form.js";

const LIST_EVERY_MS = 5000;
/** A title longer than this the server does not take. */
const TITLE_CHARS = 120;

const form = new SourceForm($("media"));

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
  const title = typed($("title").value, TITLE_CHARS, "title");
  $("create").querySelector('[data-error="title"]').textContent = title.wrong;
  $("submit").disabled = true;
  const wish = await form.read();
  if (!wish || title.wrong) {
    $("submit").disabled = false;
    return;
  }
  try {
    const body = {
      ...wish,
      visibility: $("public").checked ? "public" : "unlisted",
      title: title.text || undefined,
    };
    const { room, host_key } = await request("POST", "/rooms", { body });
    storeKey(room.code, host_key);
    // Without storage the key would be lost on the way: the link carries it, and the room page takes it off again.
    location.assign(at(`r/${room.code}#key=${host_key}`));
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
  const code = codeIn($("code").value);
  if (code) location.assign(at(`r/${encodeURIComponent(code)}`));
});

/** Back from the room: the page is as it was left, and ready for another. */
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) $("submit").disabled = form.isEmpty;
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
  // Entries that stay are kept as they are: whoever has the focus on one keeps it.
  const items = new Map([...$("rooms").children].map((item) => [item.dataset.code, item]));
  const shown = rooms.map((room) => {
    const item = items.get(room.code) ?? roomItem(room.code);
    items.delete(room.code);
    fill(item, room);
    return item;
  });
  for (const gone of items.values()) gone.remove();
  shown.forEach((item, n) => {
    if ($("rooms").children[n] !== item) $("rooms").insertBefore(item, $("rooms").children[n] ?? null);
  });
}

function roomItem(code) {
  const item = document.createElement("li");
  item.dataset.code = code;
  const link = document.createElement("a");
  link.href = at(`r/${code}`);
  const count = document.createElement("span");
  count.className = "pill";
  link.append(document.createElement("strong"), document.createElement("span"), count);
  item.append(link);
  return item;
}

function fill(item, { title, source, presence }) {
  const texts = [title ?? describe(source), title ? describe(source) : source.provider, `${presence.viewers} watching`];
  [...item.firstChild.children].forEach((part, n) => {
    put(part, "textContent", texts[n]);
  });
}

start();
