"""The script with which Redis takes from several counters at once.

It contains the scripts of throttled-py as functions, and calls each twice: without a cost, to learn
whether every counter has a rest, then with it. All counters of a request cost one round trip, and a
refused request takes from none of them.

Redis' clock may be set back. Counters from the future, which would refuse requests until the
clock has reached them again, are forgotten; a bucket from the future is an empty one.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final


def _read(name: str) -> str:
    script = files("throttled.rate_limiter").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return f"local function {name}(KEYS, ARGV)\n{script}\nend\n"


# ARGV: the cost (1 to take, 0 to read), the id of a lease, then for each key the algorithm, the
# limit and a duration in seconds: of the window or the lease, until the end of the calendar's
# period, or in which a bucket gains one request.
# Returns for each key {refused, remaining, seconds until the reset, seconds until a retry}.
_TAKE: Final = """
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local algorithms = {}

function algorithms.bucket(key, cost, limit, emission)
    local empty = now - 1735660800 + limit * emission
    if tonumber(redis.call("GET", key) or "0") > empty + 1 then
        redis.call("SET", key, empty, "EX", math.ceil(limit * emission))
    end
    return gcra({key}, {emission, limit, cost})
end

function algorithms.calendar(key, cost, limit, rest)
    local state = fixed_window({key}, {rest, limit, 0})
    if state[2] + cost > limit then
        return {cost, math.max(0, limit - state[2]), tostring(rest), tostring(rest)}
    end
    state = fixed_window({key}, {rest, limit, cost})
    return {0, limit - state[2], tostring(rest), "0"}
end

function algorithms.window(key, cost, limit, length)
    local newest = tonumber(redis.call("LINDEX", key, 0) or "0")
    if newest > now + 1 then
        redis.call("DEL", key)
        newest = 0
    end
    local oldest = redis.call("LINDEX", key, -1)
    while oldest and tonumber(oldest) <= now - length do
        redis.call("RPOP", key)
        oldest = redis.call("LINDEX", key, -1)
    end
    local used = redis.call("LLEN", key)
    if used + cost > limit then
        local next = tonumber(redis.call("LINDEX", key, limit - 1)) + length - now
        return {cost, math.max(0, limit - used), tostring(newest + length - now), tostring(next)}
    end
    if cost > 0 then
        redis.call("LPUSH", key, string.format("%.6f", now))
        redis.call("PEXPIRE", key, math.ceil(length * 1000))
        return {0, limit - used - cost, tostring(length), "0"}
    end
    return {0, limit - used, tostring(math.max(0, newest + length - now)), "0"}
end

function algorithms.leases(key, cost, limit, ttl)
    redis.call("ZREMRANGEBYSCORE", key, "-inf", now)
    redis.call("ZREMRANGEBYSCORE", key, now + 2 * ttl, "+inf")
    local used = redis.call("ZCARD", key)
    if used + cost > limit then
        return {cost, math.max(0, limit - used), "0", "1"}
    end
    if cost > 0 then
        redis.call("ZADD", key, string.format("%.3f", now + ttl), ARGV[2])
        redis.call("EXPIRE", key, math.ceil(2 * ttl))
    end
    return {0, limit - used - cost, "0", "0"}
end

local function run(index, cost)
    local at = 3 * index
    return algorithms[ARGV[at]](KEYS[index], cost, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
end

local cost = tonumber(ARGV[1])
local states, is_free = {}, true
for index = 1, #KEYS do
    states[index] = run(index, 0)
    if states[index][2] < 1 then
        is_free = false
        if cost > 0 then
            states[index] = run(index, 1)
        end
    end
end
if cost > 0 and is_free then
    for index = 1, #KEYS do
        states[index] = run(index, 1)
    end
end
return states
"""

# KEYS: the counters of a lease. ARGV: its id and duration. Restores a lease that Redis has lost.
RENEW: Final = """
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for index = 1, #KEYS do
    redis.call("ZADD", KEYS[index], string.format("%.3f", now + ARGV[2]), ARGV[1])
    redis.call("EXPIRE", KEYS[index], math.ceil(2 * ARGV[2]))
end
return 1
"""

# KEYS: the counters of a lease. ARGV: its id.
RELEASE: Final = """
for index = 1, #KEYS do
    redis.call("ZREM", KEYS[index], ARGV[1])
end
return 1
"""


def read_take_script() -> str:
    """Return the script that takes from counters, with those of throttled-py."""
    return _read("gcra") + _read("fixed_window") + _TAKE
