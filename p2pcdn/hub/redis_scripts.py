"""What nodes ask of Redis, each question one atomic script (Redis 6.2 or newer, Valkey).

Keys, below a prefix of the site's own:

    nodes       sorted set   node -> its last heartbeat, ms of Redis's own clock
    counts      hash         node -> its counts, JSON
    peers       hash         peer id -> node|proof of its token
    n:<node>    set          the node's peer ids
    q:<id>      list         messages for an absent peer, capped, with a TTL
    t:<table>   hash         peer id -> node|entry: who has a content, who streams
                               (a swarm of the tracker: node -> node|how many are there)
    contents, streams, torrents   sorted sets   table -> when it was last touched

and a channel `@<node>` for each node. Everything is soft: what belongs to a node that is dead
counts as absent at once and is swept later; what nobody renews expires. A node is dead when it
was silent for `DEAD_MS`, or when nobody listens on its channel.
"""

from __future__ import annotations

__all__ = ["DEAD_MS", "SCRIPTS", "TABLE_TTL_MS"]

DEAD_MS = 8000
TABLE_TTL_MS = 600_000
_ALL_TTL_MS = 3_600_000

_COMMON = f"""
local P = KEYS[1]
local T = redis.call('TIME')
local NOW = T[1] * 1000 + math.floor(T[2] / 1000)
local known = {{}}
local function alive(node)
  local found = known[node]
  if found == nil then
    local at = redis.call('ZSCORE', P .. 'nodes', node)
    found = at and NOW - at < {DEAD_MS} or false
    known[node] = found
  end
  return found
end
local function split(value)
  local at = string.find(value, '|', 1, true)
  return string.sub(value, 1, at - 1), string.sub(value, at + 1)
end
"""

SCRIPTS: dict[str, str] = {}


def _script(name: str, body: str) -> None:
    SCRIPTS[name] = _COMMON + body


# node, counts -> is new, dead nodes, how many tables, everybody's counts, own listeners
_script(
    "beat",
    f"""
local me = ARGV[1]
local new = redis.call('ZADD', P .. 'nodes', NOW, me)
redis.call('HSET', P .. 'counts', me, ARGV[2])
for _, key in ipairs({{'nodes', 'peers', 'counts', 'n:' .. me}}) do
  redis.call('PEXPIRE', P .. key, {_ALL_TTL_MS})
end
local dead = {{}}
for _, node in ipairs(redis.call('ZRANGE', P .. 'nodes', 0, -1)) do
  if node ~= me and (not alive(node)
      or redis.call('PUBSUB', 'NUMSUB', P .. '@' .. node)[2] == 0) then
    redis.call('ZREM', P .. 'nodes', node)
    dead[#dead + 1] = node
  end
end
local sizes = {{}}
for i, index in ipairs({{'contents', 'streams', 'torrents'}}) do
  redis.call('ZREMRANGEBYSCORE', P .. index, '-inf', NOW - {TABLE_TTL_MS})
  sizes[i] = redis.call('ZCARD', P .. index)
end
return {{new, dead, sizes, redis.call('HGETALL', P .. 'counts'),
  redis.call('PUBSUB', 'NUMSUB', P .. '@' .. me)[2]}}
""",
)

# node: everything that was its own
_script(
    "reap",
    """
local node = ARGV[1]
for _, id in ipairs(redis.call('SMEMBERS', P .. 'n:' .. node)) do
  local value = redis.call('HGET', P .. 'peers', id)
  if value and split(value) == node then redis.call('HDEL', P .. 'peers', id) end
end
redis.call('DEL', P .. 'n:' .. node)
redis.call('ZREM', P .. 'nodes', node)
redis.call('HDEL', P .. 'counts', node)
return 1
""",
)

# node, id, proof, value that may be overwritten -> {1, waiting frames} or {0, who has it}
_script(
    "claim",
    """
local me, id = ARGV[1], ARGV[2]
local value = redis.call('HGET', P .. 'peers', id)
if value then
  local owner = split(value)
  if owner ~= me then
    if alive(owner) and value ~= ARGV[4] then return {0, value} end
    redis.call('SREM', P .. 'n:' .. owner, id)
  end
end
redis.call('HSET', P .. 'peers', id, me .. '|' .. ARGV[3])
redis.call('SADD', P .. 'n:' .. me, id)
local waiting = redis.call('LRANGE', P .. 'q:' .. id, 0, -1)
redis.call('DEL', P .. 'q:' .. id)
return {1, waiting}
""",
)

# node, id
_script(
    "release",
    """
local value = redis.call('HGET', P .. 'peers', ARGV[2])
if value and split(value) == ARGV[1] then redis.call('HDEL', P .. 'peers', ARGV[2]) end
return redis.call('SREM', P .. 'n:' .. ARGV[1], ARGV[2])
""",
)

# id -> who has it, or false
_script(
    "where",
    """
local value = redis.call('HGET', P .. 'peers', ARGV[1])
if value and alive((split(value))) then return value end
return false
""",
)

# id, frame, most waiting (0: do not keep), TTL -> 1 handed over, 2 waits, 0 full, 3 absent
_script(
    "relay",
    """
local value = redis.call('HGET', P .. 'peers', ARGV[1])
if value then
  local node = split(value)
  if alive(node) then
    if redis.call('PUBLISH', P .. '@' .. node, ARGV[2]) > 0 then return 1 end
    redis.call('ZREM', P .. 'nodes', node)
  end
end
local most = tonumber(ARGV[3])
if most == 0 then return 3 end
local queue = P .. 'q:' .. ARGV[1]
if redis.call('LLEN', queue) >= most then return 0 end
if redis.call('RPUSH', queue, ARGV[2]) == 1 then redis.call('PEXPIRE', queue, ARGV[4]) end
return 2
""",
)

# id, frames...: take them back -> how many were still there
_script(
    "unqueue",
    """
local gone = 0
for i = 2, #ARGV do gone = gone + redis.call('LREM', P .. 'q:' .. ARGV[1], 1, ARGV[i]) end
return gone
""",
)

# node, frame -> 0: nobody listens there
_script(
    "tell",
    """
if redis.call('PUBLISH', P .. '@' .. ARGV[1], ARGV[2]) > 0 then return 1 end
redis.call('ZREM', P .. 'nodes', ARGV[1])
return 0
""",
)

# node, table, index, id, entry
_script(
    "put",
    f"""
local key = P .. 't:' .. ARGV[2]
redis.call('HSET', key, ARGV[4], ARGV[1] .. '|' .. ARGV[5])
redis.call('PEXPIRE', key, {TABLE_TTL_MS})
return redis.call('ZADD', P .. ARGV[3], NOW, ARGV[2])
""",
)

# node, table, index, id
_script(
    "drop",
    """
local key = P .. 't:' .. ARGV[2]
local value = redis.call('HGET', key, ARGV[4])
if value and split(value) == ARGV[1] then redis.call('HDEL', key, ARGV[4]) end
if redis.call('EXISTS', key) == 0 then redis.call('ZREM', P .. ARGV[3], ARGV[2]) end
return 1
""",
)

# index, tables...: they are still in use
_script(
    "renew",
    f"""
for i = 2, #ARGV do
  if redis.call('PEXPIRE', P .. 't:' .. ARGV[i], {TABLE_TTL_MS}) == 1 then
    redis.call('ZADD', P .. ARGV[1], NOW, ARGV[i])
  end
end
return 1
""",
)

# node, table, index, most -> id, entry, id, entry, ... of other nodes
_script(
    "look",
    """
local key = P .. 't:' .. ARGV[2]
local some = redis.call('HRANDFIELD', key, ARGV[4], 'WITHVALUES')
local found = {}
for i = 1, #some, 2 do
  local node, entry = split(some[i + 1])
  if node == ARGV[1] then
  elseif alive(node) then
    found[#found + 1] = some[i]
    found[#found + 1] = entry
  else
    redis.call('HDEL', key, some[i])
  end
end
if #found == 0 and redis.call('EXISTS', key) == 0 then
  redis.call('ZREM', P .. ARGV[3], ARGV[2])
end
return found
""",
)

# -> ids of all peers of live nodes
_script(
    "list",
    """
local all = redis.call('HGETALL', P .. 'peers')
local ids = {}
for i = 1, #all, 2 do
  if alive((split(all[i + 1]))) then ids[#ids + 1] = all[i] end
end
return ids
""",
)
