-- An entry's fields, in this order: previous, hash, total, bytes. Gives the digest of the stream's
-- last batch (32 zero bytes where there is none), its id (or nil) and its total.
local function stream_end(key)
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    if not last then return string.rep('\0', 32), nil, 0 end
    return last[2][4], last[1], tonumber(last[2][6])
end
-- False if the stream's top is at or above that id: then nothing was added.
local function add(key, id, previous, hash, total, bytes)
    local added = redis.pcall('XADD', key, id,
        'previous', previous, 'hash', hash, 'total', string.format('%.0f', total), 'bytes', bytes)
    if type(added) ~= 'table' then return true end
    if string.find(added.err, 'equal or smaller', 1, true) then return false end
    error(added)
end
