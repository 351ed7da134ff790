-- Appends a message and publishes it, in one step; a repeated message only gets the same answer.
-- KEYS: log, floor, said    ARGV: message (JSON), channel, entries to keep, seconds to remember the client's id
-- Returns the id, and 1 if it was published now, 0 if it was published before.
local known = redis.call('GET', KEYS[3])
if known then
    return {known, 0}
end
local ms, number = 0, -1
local function larger(id)
    if not id then return end
    local its_ms, its_number = string.match(id, '^(%d+)-(%d+)$')
    its_ms, its_number = tonumber(its_ms), tonumber(its_number)
    if its_ms > ms or (its_ms == ms and its_number > number) then
        ms, number = its_ms, its_number
    end
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
last = last and last[1]
larger(last)
-- Ids that pods delivered from data that has been lost.
larger(redis.call('GET', KEYS[2]))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if now > ms then
    ms, number = now, -1
end
local id = string.format('%.0f-%.0f', ms, number + 1)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], id, 'message', ARGV[1])
redis.call('SET', KEYS[3], id, 'EX', ARGV[4])
redis.call('PUBLISH', ARGV[2], id .. ' ' .. (last or '0-0') .. ' ' .. ARGV[1])
return {id, 1}
