-- Replaces a document by the same document in another form, unless it has changed meanwhile. Its TTL stays.
--
-- KEYS  1 a state or a GroupMeta (string)
-- ARGV  1 the document as it was read  2 the document to store
-- Returns 1 if it was replaced.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
