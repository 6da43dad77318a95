"""A producer and a consumer on pynsq, by which the tests hold the embedded queue against Python's library.

    peer.py publish|consume --address HOST:PORT --topic T [--channel C] --prefix P --count N [--ca-file F] [--compression C]

`publish` sends P-0 to P-(N-1), the first half one by one and the rest at once. `consume` finishes every message and prints
its body on a line, until it is killed.
"""

import argparse
import asyncio
import sys

import nsq


def options(asked):
    found = {asked.compression: True} if asked.compression != "none" else {}
    if asked.ca_file:
        found |= {"tls_v1": True, "tls_options": {"ca_certs": asked.ca_file}}
    return found


async def publish(asked):
    writer = nsq.Writer([asked.address], **options(asked))
    while not writer.conns:
        await asyncio.sleep(0.01)
    bodies = [f"{asked.prefix}-{i}".encode() for i in range(asked.count)]
    half = asked.count // 2
    for body in bodies[:half]:
        await answered(writer.pub, asked.topic, body)
    await answered(writer.mpub, asked.topic, bodies[half:])
    # A writer has no end of its own.
    for conn in list(writer.conns.values()):
        conn.close()


async def answered(send, topic, what):
    done = asyncio.get_running_loop().create_future()
    send(topic, what, callback=lambda conn, data: done.set_result(data))
    data = await done
    if data != b"OK":
        sys.exit(f"answered {data!r}")


async def consume(asked):
    def take(message):
        print(message.body.decode(), flush=True)
        return True

    nsq.Reader(
        message_handler=take,
        nsqd_tcp_addresses=[asked.address],
        topic=asked.topic,
        channel=asked.channel,
        max_in_flight=50,
        **options(asked),
    )
    await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("act", choices=["publish", "consume"])
    parser.add_argument("--address", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--channel", default="python")
    parser.add_argument("--prefix", default="python")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--ca-file")
    parser.add_argument("--compression", choices=["none", "snappy", "deflate"], default="none")
    asked = parser.parse_args()
    asyncio.run({"publish": publish, "consume": consume}[asked.act](asked))


main()
