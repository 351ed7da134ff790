-- Keeps a state, and forgets the entries that led to the one before it: whoever is a little behind still finds his.
-- KEYS: entries, life, checkpoint    ARGV: life, position, at (ms), state (JSON)
-- Returns 1, or 0 if a newer one is kept already, or LAPSED.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return redis.error_reply('LAPSED this is not the server, or not the data, that the journal went on with')
end
local id = ARGV[3] .. '-' .. ARGV[2]
if #redis.call('XRANGE', KEYS[1], id, id) == 0 then
    return redis.error_reply('LAPSED the entry that this state was read at is gone')
end
local kept = redis.call('HMGET', KEYS[3], 'position', 'at')
if kept[1] and tonumber(kept[1]) >= tonumber(ARGV[2]) then
    return 0
end
redis.call('HSET', KEYS[3], 'position', ARGV[2], 'at', ARGV[3], 'state', ARGV[4])
if kept[1] then
    redis.call('XTRIM', KEYS[1], 'MINID', kept[2] .. '-' .. kept[1])
end
return 1
