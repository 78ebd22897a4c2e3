-- KEYS[1]: the stream. KEYS[2]: a new one. ARGV[1]: the first id that moves there. The stream's top is
-- lowered with it, so that the archive's batches can follow under their own ids.
local moved = redis.call('XRANGE', KEYS[1], ARGV[1], '+')
for _, entry in ipairs(moved) do redis.call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
for _, entry in ipairs(moved) do redis.call('XDEL', KEYS[1], entry[1]) end
if #moved > 0 then
    local hash, id = stream_end(KEYS[1])
    if id then redis.call('XSETID', KEYS[1], id) else redis.call('DEL', KEYS[1]) end
end
return kept(KEYS[1])
