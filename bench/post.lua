-- wrk: one chat request; the model, the headers and the prompt's length come from the environment
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
for name, value in string.gmatch(os.getenv("BENCH_HEADERS"), "([^:\n]+): ([^\n]+)") do
  wrk.headers[name] = value
end
wrk.body = '{"model":"' .. os.getenv("BENCH_MODEL") .. '","messages":[{"role":"system","content":"You are a bench."},'
  .. '{"role":"user","content":"' .. string.rep("x", tonumber(os.getenv("BENCH_LETTERS")))
  .. '"}],"temperature":0.2,"max_tokens":60}'

function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("JSON {\"units\": %d, \"failed\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
    summary.requests, bad, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
