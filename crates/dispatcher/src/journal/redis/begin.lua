-- The journal goes on with this life of this server. What an earlier life had taken may be lost (a restart, a failover, a
-- flush), so the first entry is the word of it. Whoever comes second finds it done.
-- KEYS: entries, life, checkpoint    ARGV: run_id, the lapse (a draft, JSON)
-- Returns 1 if it has been done now, 0 if it was done before.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and redis.call('GET', KEYS[2]) == ARGV[1] then
    return 0
end
local ms, position = 0, 0
if last then
    ms, position = string.match(last[1], '^(%d+)-(%d+)$')
end
-- Without entries it goes on after the state that is kept, if there is one.
local kept = redis.call('HMGET', KEYS[3], 'position', 'at')
ms = math.max(tonumber(ms), tonumber(kept[2] or 0))
position = math.max(tonumber(position), tonumber(kept[1] or 0)) + 1
local time = redis.call('TIME')
ms = math.max(ms, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('XADD', KEYS[1], string.format('%.0f-%.0f', ms, position), 'entry', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return 1
