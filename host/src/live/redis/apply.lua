-- A host's command, by the rules of playback.rs. ARGV: clock, fence, expires, op, position_ms, at_ms.
-- `expires`: an order that was held up on the way is not carried out late.
local now = clock()
local fence, expires, op = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local s = load_state()
if not s then return answer(-1, nil, now) end
if fence < s.fence then return answer(-2, nil, now) end
if expires and now > expires then return answer(-3, nil, now) end

local written = now
now = math.max(now, s.at_ms)
local function clamp(n, low, high) return math.min(math.max(n, low), high) end
local function moved(playing, position_ms, at_ms)
  if not playing then return clamp(position_ms, 0, MAX_POSITION_MS) end
  return clamp(position_ms + math.max(now - at_ms, 0), 0, MAX_POSITION_MS)
end
local here = moved(s.playing, s.position_ms, s.at_ms)
local function reported(playing)
  local at_ms = clamp(tonumber(ARGV[6]) or now, now - 2000, now)
  return moved(playing, clamp(tonumber(ARGV[5]), 0, MAX_POSITION_MS), at_ms)
end

local playing, position_ms = s.playing, here
if op == 'PLAY' or op == 'PAUSE' then
  playing = op == 'PLAY'
  if ARGV[5] ~= '' then position_ms = reported(playing) end
elseif op == 'SEEK' then
  position_ms = reported(playing)
elseif op == 'PROGRESS' then
  local shown = reported(playing)
  if math.abs(shown - here) > 500 then position_ms = shown end
end
if playing == s.playing and position_ms == here then return answer(0, s, written) end
s.playing, s.position_ms, s.at_ms = playing, position_ms, now
redis.call('HDEL', STATE, 'remembered')
renew(s, written)
return answer(1, s, written)
