-- wrk: one chat request of 0.9 KB, the key from the environment
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY")
wrk.body = '{"model":"bench/bench","messages":[{"role":"system","content":"You are a bench."},'
  .. '{"role":"user","content":"' .. string.rep("x", 760) .. '"}],"temperature":0.2,"max_tokens":60}'

function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("JSON {\"requests\": %d, \"failed\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
    summary.requests, bad, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
