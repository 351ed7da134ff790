-- Returns the journal's current life, or begins a new one. A life is this data on this server: SERVER/ID, where ID is the id of
-- the life's first entry. Entries of an earlier life may be lost (a restart, a failover, a flush), so that first entry is a
-- lapse. If several writers call this, the first one begins the life.
-- KEYS: entries, life, checkpoint    ARGV: server, the lapse (a draft, JSON), a life in which entries are known to be lost (or '')
-- Returns the life, and 1 if this call has begun it, otherwise 0.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local life = redis.call('GET', KEYS[2])
local ours = ARGV[1] .. '/'
if last and life and string.sub(life, 1, #ours) == ours and life ~= ARGV[3] then
    return {life, 0}
end
local ms, position = 0, 0
if last then
    ms, position = string.match(last[1], '^(%d+)-(%d+)$')
end
-- If there are no entries, positions continue after the checkpoint, if there is one.
local kept = redis.call('HMGET', KEYS[3], 'position', 'at')
ms = math.max(tonumber(ms), tonumber(kept[2] or 0))
position = math.max(tonumber(position), tonumber(kept[1] or 0)) + 1
local time = redis.call('TIME')
ms = math.max(ms, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local id = string.format('%.0f-%.0f', ms, position)
redis.call('XADD', KEYS[1], id, 'entry', ARGV[2])
redis.call('SET', KEYS[2], ours .. id)
return {ours .. id, 1}
