-- A host's order, by the rules of playback.rs and timeline.rs. ARGV: clock, expires, op, position_ms, at_ms, version,
-- and 'buffering' of a PAUSE or 'ended' of a PROGRESS. The answer's status: 1 changed, 0 nothing, 2 stale.
-- `expires`: an order that was held up on the way is not carried out late.
local MAX_REPORT_AGE_MS = 2000
local PROGRESS_TOLERANCE_MS = 80
local STALE_FOR_MS = 20000
local now = clock()
local expires, op = ARGV[2], ARGV[3]
local position, about, version, more = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local is_report = op == 'PROGRESS'
local s = load_state()
if not s then return answer(-1, nil, now) end
if is_late(expires, now) then return answer(-3, nil, now) end

local function is_unknown(mark, mark_at)
  if version then return version < mark end
  local age = now - mark_at
  return about and about < mark_at and age >= 0 and age < STALE_FOR_MS
end
if is_report and is_unknown(s.ordered, s.ordered_at) or not is_report and is_unknown(s.sourced, s.sourced_at) then
  return answer(2, nil, now)
end

local at_ms = op == 'PLAY' and now + LEAD_MS or now
local function moved(playing, position_ms, from)
  return clamp(position_ms + (playing and math.max(at_ms - from, 0) or 0), 0, MAX_POSITION_MS)
end
local here = moved(s.playing, s.position_ms, s.at_ms)
local function reported(playing)
  if not position then return here end
  local from = about and clamp(about, now - MAX_REPORT_AGE_MS, now) or at_ms
  return moved(playing, clamp(position, 0, MAX_POSITION_MS), from)
end

local playing, position_ms, hold = s.playing, here, s.hold
if op == 'PLAY' then
  playing, position_ms, hold = true, reported(true), ''
elseif op == 'PAUSE' then
  if more == '' or s.playing then playing, position_ms, hold = false, reported(false), more end
elseif op == 'SEEK' then
  position_ms = reported(playing)
elseif is_report and now >= s.at_ms then
  if more == 'ended' and s.playing then
    playing, position_ms = false, reported(false)
  else
    local shown = reported(playing)
    if math.abs(shown - here) > PROGRESS_TOLERANCE_MS then position_ms = shown end
  end
end
if playing == s.playing and position_ms == here and hold == s.hold then return answer(0, nil, now) end
s.playing, s.position_ms, s.at_ms, s.hold = playing, position_ms, at_ms, hold
s.remembered = nil
if not is_report then s.ordered, s.ordered_at = next_version(s, now), now end
renew(s, now)
return answer(1, s, now)
