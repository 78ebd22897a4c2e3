-- One piece of a save. KEYS[1]: a shard's snapshots. ARGV: the marker; 1 where something must be saved
-- already (else 0); which piece: 'all', 'first', 'middle' or 'last'; the save's name; the number of
-- changed entities in this piece, then field and value of each, then the fields of those removed
-- (none but with the marker, in the last piece). Nothing is done, and the answer is -1 where the
-- marker that is there is of a later batch: another owner has saved, or this save comes late; and -2
-- where what must be there is gone, or the pieces before are.
local key, piece, name = KEYS[1], ARGV[3], ARGV[4]
local marker = redis.call('HGET', key, 'marker')
local begins, ends = piece == 'all' or piece == 'first', piece == 'all' or piece == 'last'
if marker then
    -- Byte by byte: comparing strings would follow the server's locale.
    for i = 1, 16 do
        local theirs, ours = string.byte(marker, i), string.byte(ARGV[1], i)
        if theirs > ours then return -1 end
        if theirs < ours then break end
    end
end
if begins then
    if not marker then
        if ARGV[2] == '1' then return -2 end
        -- What a first save that did not end has left.
        redis.call('DEL', key)
    end
    if not ends then redis.call('HSET', key, 'saving', name) end
elseif redis.call('HGET', key, 'saving') ~= name then
    -- A last piece that is repeated has done its work.
    if ends and redis.call('HGET', key, 'saved') == name then return 0 end
    return -2
end
local changed = 5 + 2 * tonumber(ARGV[5])
for i = 6, changed, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
for i = changed + 1, #ARGV do redis.call('HDEL', key, ARGV[i]) end
if ends then
    redis.call('HSET', key, 'marker', ARGV[1], 'saved', name)
    redis.call('HDEL', key, 'saving')
end
return 0
