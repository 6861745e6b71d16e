-- What every script shares, after EXPIRY_MS: how long anything is kept of a room without a sign of life.
-- KEYS are: state, nodes, counts, feed (the shard channel), all of one slot; and, where Redis is one server and its own TIME
-- counts, by how much that is corrected.
-- ARGV[1]: with such a correction, what the node expects the clock to show, if it knows; without, the clock itself.
local STATE, NODES, COUNTS, FEED, CORRECTION = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local FIELDS = {
  'version', 'playing', 'position_ms', 'at_ms', 'viewers', 'away_until', 'room', 'revision',
  'hold', 'ordered', 'ordered_at', 'sourced', 'sourced_at', 'remembered', 'closed',
}
local MAX_POSITION_MS = 604800000
local LEAD_MS = 150

-- More than any answer takes.
local SET_BACK_MS = 500

-- Milliseconds are integers far above what Lua prints without an exponent.
local function int(n) return string.format('%.0f', n) end
local function int_or_none(n) return n and int(n) or '' end

local function own_clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whoever sets the machine's clock back moves no film: nodes count on evenly from what they heard last, and the first that
-- is ahead by more than any way here takes has seen it; the difference is kept. A script that only reads keeps nothing.
local function clock(only_reads)
  local expected = tonumber(ARGV[1])
  if not CORRECTION then return expected end
  local correction = tonumber(redis.call('GET', CORRECTION) or '0')
  local now = own_clock() + correction
  if expected and expected - now > SET_BACK_MS then
    if not only_reads then redis.call('SET', CORRECTION, int(correction + expected - now)) end
    return expected
  end
  return now
end

-- Whether it is too late for what was to be carried out by then: by the clock, or with an @ by the server's own. Where
-- nobody knows, nothing is late.
local function is_late(expires, now)
  if string.sub(expires, 1, 1) == '@' then now, expires = own_clock(), string.sub(expires, 2) end
  return expires ~= '' and now > tonumber(expires)
end

local function clamp(n, low, high) return math.min(math.max(n, low), high) end

-- Of a closed room only its last frame is left, for as long as anybody may still ask for it.
local last_frame

local function load_state()
  local values = redis.call('HMGET', STATE, unpack(FIELDS))
  last_frame = values[15]
  if not values[1] then return nil end
  -- A room that an older host wrote has no marks, and is not held.
  return {
    version = tonumber(values[1]), playing = values[2] == '1', position_ms = tonumber(values[3]),
    at_ms = tonumber(values[4]), viewers = tonumber(values[5]), away_until = tonumber(values[6] or ''),
    room = values[7], revision = tonumber(values[8]),
    hold = values[9] or '', ordered = tonumber(values[10] or '0'), ordered_at = tonumber(values[11] or '0'),
    sourced = tonumber(values[12] or '0'), sourced_at = tonumber(values[13] or '0'),
    remembered = tonumber(values[14] or ''),
  }
end

-- The frame: a header that nodes read (version, revision, kind), then the STATE that members read. The kind is S; or N if
-- nobody is counted, which is not what somebody who is here should read; R if somebody is counted no more who may be here:
-- nodes count theirs anew; or L if it is the last.
local function frame(s, kind)
  local host = s.away_until and 'away' or 'connected'
  local away = s.away_until and int(s.away_until) or 'null'
  local hold = s.hold ~= '' and '"' .. s.hold .. '"' or 'null'
  kind = s.viewers == 0 and 'N' or kind or 'S'
  return int(s.version) .. ' ' .. int(s.revision) .. ' ' .. kind .. ' {"type":"STATE","version":' .. int(s.version)
    .. ',"room":' .. s.room
    .. ',"playback":{"is_playing":' .. tostring(s.playing) .. ',"position_ms":' .. int(s.position_ms)
    .. ',"at_ms":' .. int(s.at_ms) .. ',"hold":' .. hold .. ',"is_initial":' .. tostring(s.remembered == 0)
    .. '},"presence":{"viewers":' .. int(s.viewers) .. ',"host":"' .. host .. '","host_away_until_ms":' .. away .. '}}'
end

local function keep_alive()
  redis.call('PEXPIRE', STATE, EXPIRY_MS)
  redis.call('PEXPIRE', NODES, EXPIRY_MS)
  redis.call('PEXPIRE', COUNTS, EXPIRY_MS)
end

local function store(s)
  redis.call('HSET', STATE, 'version', int(s.version), 'playing', s.playing and '1' or '0',
    'position_ms', int(s.position_ms), 'at_ms', int(s.at_ms), 'viewers', int(s.viewers),
    'away_until', int_or_none(s.away_until), 'room', s.room, 'revision', int(s.revision),
    'hold', s.hold, 'ordered', int(s.ordered), 'ordered_at', int(s.ordered_at),
    'sourced', int(s.sourced), 'sourced_at', int(s.sourced_at), 'remembered', int_or_none(s.remembered))
  keep_alive()
end

local function next_version(s, now) return math.max(s.version + 1, now) end

-- Makes what is now true the next version, and tells everyone. First of all, since a script that may not publish must not
-- have changed anything; nobody hears it before the script has ended.
local function renew(s, now, kind)
  s.version = next_version(s, now)
  redis.call('SPUBLISH', FEED, frame(s, kind))
  store(s)
end

-- The end of a room, for good: nobody opens it again, whatever the database says.
local function close(s, now, text)
  local version, revision = s and next_version(s, now) or now, s and s.revision or 0
  last_frame = int(version) .. ' ' .. int(revision) .. ' L ' .. text
  redis.call('SPUBLISH', FEED, last_frame)
  redis.call('DEL', STATE, NODES, COUNTS)
  redis.call('HSET', STATE, 'closed', last_frame)
  redis.call('PEXPIRE', STATE, EXPIRY_MS)
end

-- { status, clock, frame, away_until or '', viewers, nodes reaped, when the first lease ends or 0 }. Of a closed room the
-- status is always -2.
local function answer(status, s, now, reaped)
  if last_frame then return { -2, int(now), last_frame, '', 0, 0, 0 } end
  if not s then return { status, int(now), '', '', 0, 0, 0 } end
  local first = redis.call('ZRANGE', NODES, 0, 0, 'WITHSCORES')[2]
  return { status, int(now), frame(s), int_or_none(s.away_until), s.viewers, reaped or 0, int(tonumber(first or 0)) }
end
