-- Appends drafts, all or none, and gives them their order and their time, in one step.
-- KEYS: entries, life    ARGV: the life that the writer got from begin.lua, drafts (JSON)...
-- Returns the position of the last draft, or LAPSED if entries may have been lost since begin.lua was called.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return redis.error_reply('LAPSED this server or its data is not of the life that the writer knows')
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last then
    return redis.error_reply('LAPSED the entries are missing')
end
local ms, position = string.match(last[1], '^(%d+)-(%d+)$')
local time = redis.call('TIME')
-- The journal's time never goes back, whatever the server's clock does.
ms = math.max(tonumber(ms), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
position = tonumber(position)
for draft = 2, #ARGV do
    position = position + 1
    redis.call('XADD', KEYS[1], string.format('%.0f-%.0f', ms, position), 'entry', ARGV[draft])
end
return position
