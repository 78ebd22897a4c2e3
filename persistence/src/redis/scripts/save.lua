-- KEYS[1]: a shard's snapshots. ARGV: the marker, 1 where something must be saved already (else 0), the
-- number of changed entities, then field and value of each, then the fields of those removed. Nothing
-- is done, and the answer is -1 where the marker that is there is of a later batch: another owner has
-- saved, or this save comes late; and -2 where what must be there is gone.
local marker = redis.call('HGET', KEYS[1], 'marker')
if not marker and ARGV[2] == '1' then return -2 end
if marker then
    -- Byte by byte: comparing strings would follow the server's locale.
    for i = 1, 16 do
        local theirs, ours = string.byte(marker, i), string.byte(ARGV[1], i)
        if theirs > ours then return -1 end
        if theirs < ours then break end
    end
end
local changed = 3 + 2 * tonumber(ARGV[3])
for i = 4, changed, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = changed + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('HSET', KEYS[1], 'marker', ARGV[1])
return 0
