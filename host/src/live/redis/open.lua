-- Seeds a room, or takes over a newer stored half, by the rules of timeline.rs. ARGV: clock, room, revision, grace, expires,
-- where the source starts, and what somebody last saw of that half, if anything: version, playing, position_ms, at_ms, hold.
-- After a wipe the newest such memory wins. An empty room seeds nothing: only a memory is offered.
local MAX_VERSION_AHEAD_MS = 86400000
local now = clock()
local room, revision, grace, expires = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local start, seen = tonumber(ARGV[6]) or 0, tonumber(ARGV[7] or '')
local is_offer = room == ''
local s = load_state()
if is_late(expires, now) then return answer(-3, nil, now) end
if not s and (is_offer or last_frame) then return answer(-1, nil, now) end

local function take_mark(version, at_ms)
  s.ordered, s.ordered_at, s.sourced, s.sourced_at = version, at_ms, version, at_ms
end

-- Takes over what somebody saw before the store forgot the room, if nobody has given an order since and nobody who saw
-- more has spoken. Answers whether people have to be told.
local function recall()
  if not seen or not s.remembered or revision ~= s.revision then return false end
  local version = math.min(seen, now + MAX_VERSION_AHEAD_MS)
  if version <= s.remembered then return false end
  local playing, position_ms = ARGV[8] == '1', clamp(tonumber(ARGV[9]), 0, MAX_POSITION_MS)
  local at_ms, hold = clamp(tonumber(ARGV[10]), 0, now + LEAD_MS), ARGV[11]
  if playing then hold = '' end
  local is_shown = s.version > version and s.remembered ~= 0 and playing == s.playing and position_ms == s.position_ms
    and at_ms == s.at_ms and hold == s.hold
  s.playing, s.position_ms, s.at_ms, s.hold = playing, position_ms, at_ms, hold
  s.remembered = version
  take_mark(version, 0)
  if is_shown then
    store(s)
    return false
  end
  s.version = math.max(s.version, version)
  return true
end

-- Puts the source to where it is to start, if nothing has been made of it yet. Answers whether it was.
local function start_it()
  local is_at_start = not s.playing and s.position_ms == 0 and s.hold == ''
  local is_untouched = s.ordered == s.sourced and s.ordered_at == s.sourced_at and (s.remembered or 0) == 0
  if start <= 0 or revision ~= s.revision or not is_at_start or not is_untouched then return false end
  s.position_ms, s.at_ms, s.remembered = start, now, nil
  s.ordered, s.ordered_at = next_version(s, now), now
  return true
end

if not s then
  redis.call('HDEL', STATE, 'unknown_since')
  s = {
    version = 0, playing = false, position_ms = 0, at_ms = now, hold = '', viewers = 0, away_until = now + grace,
    room = room, revision = revision,
    ordered = 0, ordered_at = 0, sourced = 0, sourced_at = 0, remembered = 0,
  }
  recall()
  start_it()
  renew(s, now)
  return answer(1, s, now)
end
if not is_offer and revision > s.revision then
  s.room, s.revision = room, revision
  s.playing, s.position_ms, s.at_ms, s.hold = false, 0, now, ''
  s.remembered = nil
  take_mark(next_version(s, now), now)
  start_it()
  renew(s, now)
elseif recall() or start_it() then
  renew(s, now)
end
return answer(1, s, now)
