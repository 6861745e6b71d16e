-- The end of a room. ARGV: clock, the CLOSED message.
local now = clock()
local s = load_state()
if not last_frame then close(s, now, ARGV[2]) end
return answer(-2, nil, now)
