-- Join, leave, heartbeat, reaper and the check that no frame was lost, in one. ARGV: clock, node, viewers, hosts, lease,
-- grace. An empty node only looks.
local now = clock()
local node, viewers, hosts = ARGV[2], ARGV[3], ARGV[4]
local lease, grace = tonumber(ARGV[5]), tonumber(ARGV[6])
local s = load_state()
if not s then return answer(-1, nil, now) end

local reaped = 0
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', NODES, '-inf', int(now))) do
  redis.call('ZREM', NODES, dead)
  redis.call('HDEL', COUNTS, dead)
  reaped = reaped + 1
end
if node ~= '' then
  if viewers == '0' and hosts == '0' then
    redis.call('ZREM', NODES, node)
    redis.call('HDEL', COUNTS, node)
  else
    redis.call('ZADD', NODES, int(now + lease), node)
    redis.call('HSET', COUNTS, node, viewers .. ' ' .. hosts)
  end
end
local all_viewers, all_hosts = 0, 0
for _, count in ipairs(redis.call('HVALS', COUNTS)) do
  local v, h = string.match(count, '^(%d+) (%d+)$')
  all_viewers, all_hosts = all_viewers + tonumber(v), all_hosts + tonumber(h)
end
local away_until = s.away_until
if all_hosts > 0 then away_until = nil elseif not away_until then away_until = now + grace end
if all_viewers ~= s.viewers or away_until ~= s.away_until then
  s.viewers, s.away_until = all_viewers, away_until
  renew(s, now)
else
  keep_alive()
end
return answer(1, s, now, reaped)
