-- KEYS[1]: the stream. ARGV: id, previous, hash, bytes. Gives the bytes that were added: 0 where the
-- stream ends with this very batch already, -1 where it ends otherwise than expected.
local hash, id, total = stream_end(KEYS[1])
if id == ARGV[1] and hash == ARGV[3] then return 0 end
if hash ~= ARGV[2] then return -1 end
if not add(KEYS[1], ARGV[1], ARGV[2], ARGV[3], total + #ARGV[4], ARGV[4]) then return -1 end
return #ARGV[4]
