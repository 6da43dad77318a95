// A producer and a consumer on nsqjs, by which the tests hold the embedded queue against Node's library.
//
//     peer.js publish|consume --address HOST:PORT --topic T [--channel C] --prefix P --count N [--ca-file F] [--compression C]
//
// `publish` sends P-0 to P-(N-1), the first half one by one and the rest at once. `consume` finishes every message and prints
// its body on a line, until it is killed.
"use strict";

const fs = require("fs");
// Installed by `cargo xtask setup`, beside which this file is copied.
const nsq = require("nsqjs");

function asked() {
  const [act, ...rest] = process.argv.slice(2);
  const options = { act, channel: "node", prefix: "node", count: 1, compression: "none" };
  for (let i = 0; i < rest.length; i += 2) {
    options[rest[i].slice(2).replace("ca-file", "caFile")] = rest[i + 1];
  }
  options.count = Number(options.count);
  return options;
}

function settings(asked) {
  const settings = {};
  if (asked.compression !== "none") settings[asked.compression] = true;
  if (asked.caFile) {
    settings.tls = true;
    settings.tlsVerification = true;
    settings.ca = fs.readFileSync(asked.caFile);
  }
  return settings;
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

async function publish(asked) {
  const [host, port] = asked.address.split(":");
  const writer = new nsq.Writer(host, Number(port), settings(asked));
  writer.on("error", fail);
  writer.connect();
  await new Promise((ready) => writer.on("ready", ready));
  const send = (what) =>
    new Promise((done, failed) => writer.publish(asked.topic, what, (error) => (error ? failed(error) : done())));
  const bodies = Array.from({ length: asked.count }, (_, i) => `${asked.prefix}-${i}`);
  const half = Math.floor(asked.count / 2);
  for (const body of bodies.slice(0, half)) await send(body);
  await send(bodies.slice(half));
  writer.close();
}

function consume(asked) {
  const reader = new nsq.Reader(asked.topic, asked.channel, {
    nsqdTCPAddresses: asked.address,
    maxInFlight: 50,
    ...settings(asked),
  });
  reader.on("error", fail);
  reader.on("message", (message) => {
    console.log(message.body.toString());
    message.finish();
  });
  reader.connect();
}

const options = asked();
if (options.act === "publish") publish(options).catch(fail);
else consume(options);
