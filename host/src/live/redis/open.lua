-- Seeds a room, or takes over a newer stored half. ARGV: clock, room, revision, fence, grace, and what the caller last
-- saw of the room, if anything: version, playing, position_ms, at_ms. After a wipe the newest such memory wins.
local now = clock()
local room, revision, fence, grace = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local seen = tonumber(ARGV[6])
local s = load_state()
if not s then
  s = {
    version = seen or 0, playing = false, position_ms = 0, at_ms = now,
    viewers = 0, away_until = now + grace, room = room, revision = revision, fence = fence,
  }
  if seen then
    s.playing, s.position_ms, s.at_ms = ARGV[7] == '1', tonumber(ARGV[8]), tonumber(ARGV[9])
    redis.call('HSET', STATE, 'remembered', int(seen))
  end
  renew(s, now)
  return answer(1, s, now)
end
if fence > s.fence then
  s.fence = fence
  redis.call('HSET', STATE, 'fence', int(fence))
end
if revision > s.revision then
  s.room, s.revision = room, revision
  s.playing, s.position_ms, s.at_ms = false, 0, math.max(now, s.at_ms)
  redis.call('HDEL', STATE, 'remembered')
  renew(s, now)
elseif seen then
  -- Another node remembered this room first; whoever saw more of it knows better, until somebody gives an order.
  local remembered = tonumber(redis.call('HGET', STATE, 'remembered') or '')
  if remembered and seen > remembered and revision == s.revision then
    s.version = math.max(s.version, seen)
    s.playing, s.position_ms, s.at_ms = ARGV[7] == '1', tonumber(ARGV[8]), tonumber(ARGV[9])
    redis.call('HSET', STATE, 'remembered', int(seen))
    renew(s, now)
  end
end
return answer(1, s, now)
