-- Writes a checkpoint, and removes the entries before the previous checkpoint: readers that are a little behind still find
-- their next entries.
-- KEYS: entries, life, checkpoint    ARGV: life, position, at (ms), state (JSON)
-- Returns 1, or 0 if there is a newer checkpoint already, or LAPSED.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return redis.error_reply('LAPSED this server or its data is not of the life that the writer knows')
end
local id = ARGV[3] .. '-' .. ARGV[2]
if #redis.call('XRANGE', KEYS[1], id, id) == 0 then
    return redis.error_reply('LAPSED the entry that this state was read at is missing')
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
