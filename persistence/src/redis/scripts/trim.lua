-- KEYS[1]: the stream. ARGV[1]: the last id that may go; the stream's last entry never does.
local keep = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1)[1]
    or redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if keep then redis.call('XTRIM', KEYS[1], 'MINID', '=', keep[1]) end
return kept(KEYS[1])
