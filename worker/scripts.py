"""The Redis scripts that change a run's state: each looks and acts in one step, so two can never both win.

Keys, all under one prefix: `run:<id>` (hash), `runs` (ids by creation), `queued` (ids by creation, so a run that was
sent back keeps its place), `lines`, `line:*`, `active:*`, `running:*` and `served` (whose run is next, see below),
`leases` (ids by the moment when the lease ends), `ev:<id>` (stream of events), `ended`
(ids by their end, until their streams are put away), `sweep:<id>` (its run ids), `sweep-plan:<id>`, `sweeps` (ids by
creation). Time is always Redis's own. `attempt` in the hash is the fencing token: it grows with every claim, and
whoever acts with an older one is refused.

Order between owners: the queued runs of an owner form a line, first come, first served. The next run is taken from the
line of the owner with the fewest running runs; among equals, from the one who was served longest ago. Runs that were
sent back to the queue form a line of their own, `returned`, which comes first. With one owner this is plain arrival
order. A line is kept once over all queues (`line:<line>`, for positions) and once for each queue of workers
(`line-in:<queue>:<line>`, for claims); `lines` and `lines-in:<queue>` name those that are not empty. `active:<owner>`
holds the ids of an owner's queued and running runs, `running:<owner>` those of the running ones, and `served` the
moments when owners last got a worker, for one day.
"""

from __future__ import annotations

PREFIX = "ps:"

_COMMON = (
    """
local P = '"""
    + PREFIX
    + """'
local function now() local t = redis.call('TIME') return t[1] + t[2] / 1000000 end
local function owner_of(run) return redis.call('HGET', run, 'owner') or '' end
local function enqueue(run, id, returned)
  local has = redis.call('HMGET', run, 'created', 'queue')
  local owner = owner_of(run)
  local queue, line = has[2] or 'any', returned and 'returned' or 'of:' .. owner
  redis.call('HSET', run, 'line', line)
  redis.call('ZADD', P .. 'queued', has[1], id)
  redis.call('ZADD', P .. 'line:' .. line, has[1], id)
  redis.call('ZADD', P .. 'line-in:' .. queue .. ':' .. line, has[1], id)
  redis.call('SADD', P .. 'lines', line)
  redis.call('SADD', P .. 'lines-in:' .. queue, line)
  redis.call('SADD', P .. 'active:' .. owner, id)
end
local function leave(sorted, id, lines, line)
  redis.call('ZREM', sorted, id)
  if redis.call('EXISTS', sorted) == 0 then redis.call('SREM', lines, line) end
end
local function dequeue(run, id)
  local has = redis.call('HMGET', run, 'queue', 'line')
  redis.call('ZREM', P .. 'queued', id)
  if has[2] then
    local queue = has[1] or 'any'
    leave(P .. 'line:' .. has[2], id, P .. 'lines', has[2])
    leave(P .. 'line-in:' .. queue .. ':' .. has[2], id, P .. 'lines-in:' .. queue, has[2])
    redis.call('HDEL', run, 'line')
  end
end
local function forget_active(run, id)
  local owner = owner_of(run)
  redis.call('SREM', P .. 'running:' .. owner, id)
  redis.call('SREM', P .. 'active:' .. owner, id)
end
local function take(run, id, leases, worker, lease)
  local at, owner = now(), owner_of(run)
  redis.call('HINCRBY', run, 'attempt', 1)
  redis.call('HSET', run, 'state', 'running', 'worker', worker)
  redis.call('HSETNX', run, 'started', string.format('%.6f', at))
  dequeue(run, id)
  redis.call('ZADD', leases, at + lease, id)
  redis.call('SADD', P .. 'active:' .. owner, id)
  redis.call('SADD', P .. 'running:' .. owner, id)
  redis.call('ZADD', P .. 'served', string.format('%.6f', at), owner)
  redis.call('ZREMRANGEBYSCORE', P .. 'served', '-inf', at - 86400)
  return redis.call('HGETALL', run)
end
-- How a line stands in the order: running runs of its owner, when that owner was last served, when its head came.
local function standing(line, head)
  local created = tonumber(redis.call('HGET', P .. 'run:' .. head, 'created') or '0')
  if line == 'returned' then return {running = -1, served = 0, created = created} end
  local owner = string.sub(line, 4)
  return {
    running = redis.call('SCARD', P .. 'running:' .. owner),
    served = tonumber(redis.call('ZSCORE', P .. 'served', owner) or '0'),
    created = created
  }
end
local function settle(run, id, state, queued, leases, at)
  redis.call('ZREM', leases, id)
  dequeue(run, id)
  forget_active(run, id)
  redis.call('HSET', run, 'state', state, 'finished', string.format('%.6f', at))
  redis.call('HDEL', run, 'worker', 'cancel')
  redis.call('ZADD', (string.gsub(leases, 'leases$', 'ended')), at, id)
end
local function requeue(run, id, queued, leases, at)
  if redis.call('HGET', run, 'cancel') == '1' then
    settle(run, id, 'cancelled', queued, leases, at)
    return 'cancelled'
  end
  redis.call('ZREM', leases, id)
  redis.call('SREM', P .. 'running:' .. owner_of(run), id)
  enqueue(run, id, true)
  redis.call('HSET', run, 'state', 'queued', 'queued_at', string.format('%.6f', at))
  redis.call('HDEL', run, 'worker')
  return 'queued'
end
local function lose(run, id, queued, leases, at, budget, error)
  local mark = redis.call('HGET', run, 'mark') or '0'
  if mark ~= (redis.call('HGET', run, 'lost_mark') or '0') then
    redis.call('HSET', run, 'lost', '0', 'lost_mark', mark)
  end
  local lost = redis.call('HINCRBY', run, 'lost', 1)
  if lost >= tonumber(budget) and redis.call('HGET', run, 'cancel') ~= '1' then
    redis.call('HSET', run, 'error', error)
    settle(run, id, 'failed', queued, leases, at)
    return 'failed'
  end
  return requeue(run, id, queued, leases, at)
end
"""
)

# KEYS run queued runs; ARGV id created('' = now) owner limit(0 = none) field value...; 1 = made, 0 = was there,
# -n = refused, because this owner has n queued and running runs already
CREATE = (
    _COMMON
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local limit = tonumber(ARGV[4])
if limit > 0 then
  local active = redis.call('SCARD', P .. 'active:' .. ARGV[3])
  if active >= limit then return -active end
end
local at = now()
local created = ARGV[2]
if created == '' then created = string.format('%.6f', at) end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'created', created, 'queued_at', string.format('%.6f', at),
           'attempt', '0', 'owner', ARGV[3], unpack(ARGV, 5))
redis.call('ZADD', KEYS[3], created, ARGV[1])
if redis.call('HGET', KEYS[1], 'state') == 'queued' then enqueue(KEYS[1], ARGV[1], false) end
return 1
"""
)

# KEYS run queued leases; ARGV id worker lease; {field value...} or nothing when it is not ours to take
CLAIM = (
    _COMMON
    + """
if redis.call('HGET', KEYS[1], 'state') ~= 'queued' then return {} end
return take(KEYS[1], ARGV[1], KEYS[3], ARGV[2], ARGV[3])
"""
)

# KEYS leases; ARGV queue worker lease; {field value...} of the run that is next in this queue, or nothing
CLAIM_NEXT = (
    _COMMON
    + """
local function before(a, b)
  if a.running ~= b.running then return a.running < b.running end
  if a.served ~= b.served then return a.served < b.served end
  return a.created < b.created
end
local best, best_id
for _, line in ipairs(redis.call('SMEMBERS', P .. 'lines-in:' .. ARGV[1])) do
  local id = redis.call('ZRANGE', P .. 'line-in:' .. ARGV[1] .. ':' .. line, 0, 0)[1]
  local place = standing(line, id)
  if not best or before(place, best) then best, best_id = place, id end
end
if not best then return {} end
return take(P .. 'run:' .. best_id, best_id, KEYS[1], ARGV[2], ARGV[3])
"""
)

# KEYS run leases; ARGV id token lease; 1 = still ours
RENEW = (
    _COMMON
    + """
local has = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if has[1] ~= 'running' or has[2] ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], now() + ARGV[3], ARGV[1])
return 1
"""
)

# KEYS run stream; ARGV token progress mark id line id line...; 1 = taken, 0 = not ours any more.
# Ids are token-number: what was sent before, or by an older attempt, is passed over.
APPEND = """
local has = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if has[1] ~= 'running' or has[2] ~= ARGV[1] then return 0 end
local token, number = 0, 0
local top = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if top[1] then
  local a, b = string.match(top[1][1], '(%d+)-(%d+)')
  token, number = tonumber(a), tonumber(b)
end
for i = 4, #ARGV, 2 do
  local a, b = string.match(ARGV[i], '(%d+)-(%d+)')
  a, b = tonumber(a), tonumber(b)
  if a > token or (a == token and b > number) then
    redis.call('XADD', KEYS[2], ARGV[i], 'e', ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], 'progress', ARGV[2])
if tonumber(ARGV[3]) > tonumber(redis.call('HGET', KEYS[1], 'mark') or '0') then
  redis.call('HSET', KEYS[1], 'mark', ARGV[3])
end
return 1
"""

# KEYS run queued leases; ARGV id token outcome error result budget; the state afterwards, '' when not ours.
# Outcomes: succeeded, failed, interrupted (sent back by us), lost (died under us).
FINISH = (
    _COMMON
    + """
local has = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if has[1] ~= 'running' or has[2] ~= ARGV[2] then return '' end
local at = now()
if ARGV[3] == 'interrupted' then return requeue(KEYS[1], ARGV[1], KEYS[2], KEYS[3], at) end
if ARGV[3] == 'lost' then return lose(KEYS[1], ARGV[1], KEYS[2], KEYS[3], at, ARGV[6], ARGV[4]) end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'result', ARGV[5]) end
settle(KEYS[1], ARGV[1], ARGV[3], KEYS[2], KEYS[3], at)
return ARGV[3]
"""
)

# KEYS run queued leases; ARGV id; the state afterwards, '' for an unknown run
CANCEL = (
    _COMMON
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return '' end
if state == 'queued' then
  settle(KEYS[1], ARGV[1], 'cancelled', KEYS[2], KEYS[3], now())
  return 'cancelled'
end
if state == 'running' then redis.call('HSET', KEYS[1], 'cancel', '1') end
return state
"""
)

# KEYS run stream packed queued leases runs ended; ARGV id; 1 = gone, 0 = it runs
DELETE = (
    _COMMON
    + """
if redis.call('HGET', KEYS[1], 'state') == 'running' then return 0 end
dequeue(KEYS[1], ARGV[1])
forget_active(KEYS[1], ARGV[1])
for i = 4, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
return 1
"""
)

# KEYS run stream packed; ARGV token first last blob; 1 = the blob has taken the place of the stream's entries up to
# last, 0 = not ours any more, or others were packed meanwhile
PACK = """
local has = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if has[1] ~= 'running' or has[2] ~= ARGV[1] then return 0 end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
if not oldest[1] or oldest[1][1] ~= ARGV[2] then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[4])
local a, b = string.match(ARGV[3], '(%d+)-(%d+)')
redis.call('XTRIM', KEYS[2], 'MINID', a .. '-' .. string.format('%d', b + 1))
return 1
"""

# KEYS stream packed; ARGV from count; ids and lines of the entries from an id on, each joined by newlines (two answers
# instead of four for each entry, which clients take long to read), whether there may be more, and whether some of
# those asked for are packed. Nothing at all where there is no stream.
TELL = """
local found = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if not oldest[1] then return {} end
local ids, lines = {}, {}
for i, entry in ipairs(found) do
  ids[i] = entry[1]
  lines[i] = entry[2][2]
end
local older = 0
local a, b = string.match(ARGV[1], '(%d+)-(%d+)')
local c, d = string.match(oldest[1][1], '(%d+)-(%d+)')
a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
if (a < c or (a == c and b < d)) and redis.call('EXISTS', KEYS[2]) == 1 then older = 1 end
return {table.concat(ids, '\\n'), table.concat(lines, '\\n'), #found == tonumber(ARGV[2]) and 1 or 0, older}
"""

# ARGV id id...; for each run its fields (a JSON object, '' where it is gone) and how many runs start before it (''
# where it is not queued), were all the workers able to take all runs and none to finish. At level n an owner's run
# starts while n others of that owner run; at one level, whoever began with more running runs was served longer ago.
LOOK = (
    _COMMON
    + """
local lines
local function count_lines()
  lines = {}
  for _, line in ipairs(redis.call('SMEMBERS', P .. 'lines')) do
    local key = P .. 'line:' .. line
    local place = standing(line, redis.call('ZRANGE', key, 0, 0)[1])
    place.length = redis.call('ZCARD', key)
    lines[line] = place
  end
end
local function before(a, b)
  if a.running ~= b.running then return a.running > b.running end
  if a.served ~= b.served then return a.served < b.served end
  return a.created < b.created
end
local function ahead(line, id)
  if not lines then count_lines() end
  local index, own, first = redis.call('ZRANK', P .. 'line:' .. line, id), lines[line], lines['returned']
  if line == 'returned' then return index end
  local sum, level = index + (first and first.length or 0), own.running + index
  for name, other in pairs(lines) do
    if name ~= line and name ~= 'returned' then
      local rounds = level - other.running
      if before(other, own) then rounds = rounds + 1 end
      sum = sum + math.max(0, math.min(rounds, other.length))
    end
  end
  return sum
end
local answer = {}
for i = 1, #ARGV do
  local flat = redis.call('HGETALL', P .. 'run:' .. ARGV[i])
  local fields = {}
  for at = 1, #flat, 2 do fields[flat[at]] = flat[at + 1] end
  answer[#answer + 1] = flat[1] and cjson.encode(fields) or ''
  answer[#answer + 1] = fields.line and tostring(ahead(fields.line, ARGV[i])) or ''
end
return answer
"""
)

# KEYS runs; ARGV prefix owner limit offset; the ids of an owner's runs, newest first, then how many there are in all
OWNED = """
local found, seen = {}, 0
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
  if redis.call('HGET', ARGV[1] .. 'run:' .. id, 'owner') == ARGV[2] then
    seen = seen + 1
    if seen > tonumber(ARGV[4]) and #found < tonumber(ARGV[3]) then found[#found + 1] = id end
  end
end
found[#found + 1] = tostring(seen)
return found
"""

# KEYS leases queued; ARGV prefix budget error; id, state, queue, id... of the runs taken from dead workers
REAP = (
    _COMMON
    + """
local at = now()
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, 100)) do
  local run = ARGV[1] .. 'run:' .. id
  if redis.call('HGET', run, 'state') == 'running' then
    found[#found + 1] = id
    found[#found + 1] = lose(run, id, KEYS[2], KEYS[1], at, ARGV[2], ARGV[3])
    found[#found + 1] = redis.call('HGET', run, 'queue') or 'any'
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return found
"""
)

# KEYS queued resent; ARGV prefix patience queue queue...; id, queue, id... of the runs in these queues that have waited
# for longer without a hint, at most 100. The second key makes one sweeper of many send them.
OVERDUE = (
    _COMMON
    + """
if redis.call('EXISTS', KEYS[2]) == 1 then return {} end
local at = now()
local found = {}
local asked = {}
for i = 3, #ARGV do asked[ARGV[i]] = true end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local has = redis.call('HMGET', ARGV[1] .. 'run:' .. id, 'queue', 'queued_at', 'line')
  local queue = has[1] or 'any'
  if not has[3] then enqueue(ARGV[1] .. 'run:' .. id, id, false) end -- queued by a version without lines
  if asked[queue] and at - tonumber(has[2] or '0') > tonumber(ARGV[2]) then
    found[#found + 1] = id
    found[#found + 1] = queue
    if #found >= 200 then break end
  end
end
if #found > 0 then redis.call('SET', KEYS[2], '1', 'PX', math.floor(ARGV[2] * 1000)) end
return found
"""
)
