-- What every script shares. KEYS are always: state, nodes, counts, feed (the shard channel); all of one slot.
-- ARGV[1] is the clock: empty in production, where Redis's own TIME counts; tests set it.
local STATE, NODES, COUNTS, FEED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FIELDS = { 'version', 'playing', 'position_ms', 'at_ms', 'viewers', 'away_until', 'room', 'revision', 'fence' }
local MAX_POSITION_MS = 604800000
local EXPIRY_MS = 86400000

local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Milliseconds are integers far above what Lua prints without an exponent.
local function int(n) return string.format('%.0f', n) end

local function load_state()
  local values = redis.call('HMGET', STATE, unpack(FIELDS))
  if not values[1] then return nil end
  return {
    version = tonumber(values[1]), playing = values[2] == '1', position_ms = tonumber(values[3]),
    at_ms = tonumber(values[4]), viewers = tonumber(values[5]), away_until = tonumber(values[6] or ''),
    room = values[7], revision = tonumber(values[8]), fence = tonumber(values[9]),
  }
end

-- The frame: a header that nodes read (version, revision, S or L for the last), then the STATE that members read.
local function frame(s)
  local host = s.away_until and 'away' or 'connected'
  local away = s.away_until and int(s.away_until) or 'null'
  return int(s.version) .. ' ' .. int(s.revision) .. ' S {"type":"STATE","version":' .. int(s.version)
    .. ',"room":' .. s.room
    .. ',"playback":{"is_playing":' .. tostring(s.playing) .. ',"position_ms":' .. int(s.position_ms)
    .. ',"at_ms":' .. int(s.at_ms)
    .. '},"presence":{"viewers":' .. int(s.viewers) .. ',"host":"' .. host .. '","host_away_until_ms":' .. away .. '}}'
end

local function keep_alive()
  redis.call('PEXPIRE', STATE, EXPIRY_MS)
  redis.call('PEXPIRE', NODES, EXPIRY_MS)
  redis.call('PEXPIRE', COUNTS, EXPIRY_MS)
end

-- Makes what is now true the next version, and tells everyone.
local function renew(s, now)
  s.version = math.max(s.version + 1, now)
  redis.call('HSET', STATE, 'version', int(s.version), 'playing', s.playing and '1' or '0',
    'position_ms', int(s.position_ms), 'at_ms', int(s.at_ms), 'viewers', int(s.viewers),
    'away_until', s.away_until and int(s.away_until) or '', 'room', s.room,
    'revision', int(s.revision), 'fence', int(s.fence))
  keep_alive()
  local text = frame(s)
  redis.call('SPUBLISH', FEED, text)
  return text
end

-- { status, clock, frame, away_until or '', viewers, nodes reaped }
local function answer(status, s, now, reaped)
  if not s then return { status, int(now), '', '', 0, 0 } end
  return { status, int(now), frame(s), s.away_until and int(s.away_until) or '', s.viewers, reaped or 0 }
end
