-- KEYS[1]: the stream. ARGV: the digest of its end, then id, previous, hash, bytes of each batch. Their
-- order and chain were checked before, so that only the first can be refused: all or nothing. A stream
-- that holds nothing may begin anywhere: what is before is in the archive alone.
local hash, id, total = stream_end(KEYS[1])
if id and hash ~= ARGV[1] then return -1 end
for i = 2, #ARGV, 4 do
    total = total + #ARGV[i + 3]
    if not add(KEYS[1], ARGV[i], ARGV[i + 1], ARGV[i + 2], total, ARGV[i + 3]) then return -1 end
end
return kept(KEYS[1])
