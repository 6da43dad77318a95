-- What wrk sends: a POST with as many bytes as the messages have.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", tonumber(os.getenv("BODY_BYTES")))
