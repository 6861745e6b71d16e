-- The end of a room. ARGV: clock, the CLOSED message, expires.
local now = clock()
local s = load_state()
if not last_frame then
  if is_late(ARGV[3], now) then return answer(-3, nil, now) end
  close(s, now, ARGV[2])
end
return answer(-2, nil, now)
