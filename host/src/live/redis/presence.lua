-- Join, leave, heartbeat, reaper, expiry and the check that no frame was lost, in one. ARGV: clock, node, viewers, hosts,
-- lease, grace, and the CLOSED message if the room is to be closed should its time be over. An empty node only looks. The
-- answer's status: 1 changed, 0 nothing.
local now = clock()
local node, viewers, hosts = ARGV[2], ARGV[3], ARGV[4]
local lease, grace, closed = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local s = load_state()

-- A room that is stored and not known here: nobody ever came to it; or it was lost, and those who are in it bring it back.
-- It has its grace like any other, from when somebody looked for it first.
local function expire_unknown()
  local since = tonumber(redis.call('HGET', STATE, 'unknown_since') or '')
  if not since or since > now then
    since = now
    redis.call('HSET', STATE, 'unknown_since', int(since))
    redis.call('PEXPIRE', STATE, EXPIRY_MS)
  end
  local away_until = since + math.max(grace, lease)
  if away_until > now then return { -1, int(now), '', int(away_until), 0, 0, 0 } end
  close(nil, now, closed)
  return answer(-2, nil, now)
end
if not s then
  if closed == '' or node ~= '' or last_frame then return answer(-1, nil, now) end
  return expire_unknown()
end

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
if all_hosts > 0 then
  away_until = nil
elseif not away_until then
  -- Who went silent may be back with the next heartbeat: after a time in which Redis took none, all are silent.
  away_until = now + (reaped > 0 and math.max(grace, lease) or grace)
end
if closed ~= '' and away_until and away_until <= now then
  close(s, now, closed)
  return answer(-2, nil, now)
end
local is_changed = all_viewers ~= s.viewers or away_until ~= s.away_until
if is_changed then
  s.viewers, s.away_until = all_viewers, away_until
  renew(s, now, reaped > 0 and 'R')
else
  keep_alive()
end
return answer(is_changed and 1 or 0, s, now, reaped)
