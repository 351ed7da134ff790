-- Records the last id that a pod delivered: new ids will be larger than those of all pods.
-- KEYS: floor    ARGV: the id, as its two numbers
local ms, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local floor = redis.call('GET', KEYS[1])
if floor then
    local its_ms, its_number = string.match(floor, '^(%d+)-(%d+)$')
    its_ms, its_number = tonumber(its_ms), tonumber(its_number)
    if its_ms > ms or (its_ms == ms and its_number >= number) then
        return floor
    end
end
redis.call('SET', KEYS[1], ARGV[1] .. '-' .. ARGV[2])
return ARGV[1] .. '-' .. ARGV[2]
