-- What every script shares. KEYS are always: state, nodes, counts, feed (the shard channel); all of one slot.
-- ARGV[1] is the clock: empty in production, where Redis's own TIME counts; tests set it.
local STATE, NODES, COUNTS, FEED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FIELDS = {
  'version', 'playing', 'position_ms', 'at_ms', 'viewers', 'away_until', 'room', 'revision', 'fence',
  'hold', 'ordered', 'ordered_at', 'sourced', 'sourced_at', 'remembered',
}
local MAX_POSITION_MS = 604800000
local LEAD_MS = 150
local EXPIRY_MS = 86400000

local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function clamp(n, low, high) return math.min(math.max(n, low), high) end

-- Milliseconds are integers far above what Lua prints without an exponent.
local function int(n) return string.format('%.0f', n) end
local function int_or_none(n) return n and int(n) or '' end

local function load_state()
  local values = redis.call('HMGET', STATE, unpack(FIELDS))
  if not values[1] then return nil end
  -- A room that an older host wrote has no marks, and is not held.
  return {
    version = tonumber(values[1]), playing = values[2] == '1', position_ms = tonumber(values[3]),
    at_ms = tonumber(values[4]), viewers = tonumber(values[5]), away_until = tonumber(values[6] or ''),
    room = values[7], revision = tonumber(values[8]), fence = tonumber(values[9]),
    hold = values[10] or '', ordered = tonumber(values[11] or '0'), ordered_at = tonumber(values[12] or '0'),
    sourced = tonumber(values[13] or '0'), sourced_at = tonumber(values[14] or '0'),
    remembered = tonumber(values[15] or ''),
  }
end

-- The frame: a header that nodes read (version, revision, S or L for the last), then the STATE that members read.
local function frame(s)
  local host = s.away_until and 'away' or 'connected'
  local away = s.away_until and int(s.away_until) or 'null'
  local hold = s.hold ~= '' and '"' .. s.hold .. '"' or 'null'
  return int(s.version) .. ' ' .. int(s.revision) .. ' S {"type":"STATE","version":' .. int(s.version)
    .. ',"room":' .. s.room
    .. ',"playback":{"is_playing":' .. tostring(s.playing) .. ',"position_ms":' .. int(s.position_ms)
    .. ',"at_ms":' .. int(s.at_ms) .. ',"hold":' .. hold
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
    'away_until', int_or_none(s.away_until), 'room', s.room, 'revision', int(s.revision), 'fence', int(s.fence),
    'hold', s.hold, 'ordered', int(s.ordered), 'ordered_at', int(s.ordered_at),
    'sourced', int(s.sourced), 'sourced_at', int(s.sourced_at), 'remembered', int_or_none(s.remembered))
  keep_alive()
end

local function next_version(s, now) return math.max(s.version + 1, now) end

-- Makes what is now true the next version, and tells everyone.
local function renew(s, now)
  s.version = next_version(s, now)
  store(s)
  redis.call('SPUBLISH', FEED, frame(s))
end

-- { status, clock, frame, away_until or '', viewers, nodes reaped }
local function answer(status, s, now, reaped)
  if not s then return { status, int(now), '', '', 0, 0 } end
  return { status, int(now), frame(s), int_or_none(s.away_until), s.viewers, reaped or 0 }
end
