-- Bytes of batches in the stream KEYS[1]. Each entry's `total` counts from the stream's very first.
local function kept(key)
    local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    if not first then return 0 end
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    return tonumber(last[2][6]) - tonumber(first[2][6]) + #first[2][8]
end
