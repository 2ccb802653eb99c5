-- Releases a claim, unless another holder has it by now.
--
-- KEYS  1 the claim (string: its holder)
-- ARGV  1 holder
-- Returns 1 if it was released.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
