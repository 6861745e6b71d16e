-- The end of a room: nothing of it stays. ARGV: clock, the CLOSED message.
local now = clock()
local s = load_state()
if not s then return answer(-1, nil, now) end
redis.call('DEL', STATE, NODES, COUNTS)
local version = next_version(s, now)
local text = int(version) .. ' ' .. int(s.revision) .. ' L ' .. ARGV[2]
redis.call('SPUBLISH', FEED, text)
return { 1, int(now), text, '', 0, 0 }
