"""Uploads a file over HTTP/3 with aioquic, then asks on the same connection what became of it.

upload.py PORT CERTIFICATE PATH FILE, as JSON on standard output: {"status", "body", "then": {"status", "body"}}
"""

import asyncio
import json
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StopSendingReceived


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.unwanted = set()

    def quic_event_received(self, event):
        if isinstance(event, StopSendingReceived):
            self.unwanted.add(event.stream_id)
        for said in self.http.handle_event(event):
            if not isinstance(said, (HeadersReceived, DataReceived)):
                continue
            answer = self.answers.get(said.stream_id)
            if answer is None:
                continue
            if isinstance(said, HeadersReceived):
                answer["headers"].update(said.headers)
            else:
                answer["body"] += said.data
            if said.stream_ended and not answer["done"].done():
                answer["done"].set_result(None)

    async def ask(self, method, path, headers=(), body=b""):
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        answer = self.answers[stream] = {"headers": {}, "body": b"", "done": done}
        head = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", path.encode()),
            *headers,
        ]
        self.http.send_headers(stream, head, end_stream=not body)
        for at in range(0, len(body), 1 << 16):
            if stream in self.unwanted:
                break
            piece = body[at : at + (1 << 16)]
            self.http.send_data(stream, piece, end_stream=at + len(piece) == len(body))
            self.transmit()
            # Lets the answer come in between.
            await asyncio.sleep(0)
        self.transmit()
        await done
        return {"status": int(answer["headers"][b":status"]), "body": answer["body"].decode()}


async def main():
    port, certificate, path, name = sys.argv[1:]
    with open(name, "rb") as file:
        body = file.read()
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(certificate)
    async with connect(
        "127.0.0.1", int(port), configuration=configuration, create_protocol=Client, local_port=0
    ) as client:
        length = [(b"content-length", str(len(body)).encode())]
        said = await client.ask(b"PUT", path, length, body)
        if said["status"] == 201:
            made = json.loads(said["body"])
            token = [(b"authorization", f"Bearer {made['token']}".encode())]
            said["then"] = await client.ask(b"GET", made["status_url"], token)
    json.dump(said, sys.stdout)


asyncio.run(main())
