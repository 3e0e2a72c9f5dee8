"""Python's asyncio as a client: sends its standard input and prints what comes back.

    asyncio_client.py tcp|udp IP PORT
    asyncio_client.py unix|unix-dgram PATH
"""

import asyncio
import socket
import sys


async def stream(reader, writer):
    """Sends all of the input, then the end; prints until the server's end."""
    writer.write(sys.stdin.buffer.read())
    writer.write_eof()
    while received := await reader.read(65536):
        sys.stdout.buffer.write(received)
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, ends):
        self.ends = ends

    def datagram_received(self, data, _):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def error_received(self, error):
        self.ends.set_exception(error)


async def datagrams(**address):
    """Sends each line as a datagram, and prints each that comes, until it is killed."""
    loop = asyncio.get_running_loop()
    ends = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(ends), **address)
    loop.add_reader(sys.stdin, lambda: transport.sendto(sys.stdin.buffer.readline()))
    await ends


async def main(scheme, *address):
    if scheme == "tcp":
        await stream(*await asyncio.open_connection(*address))
    elif scheme == "unix":
        await stream(*await asyncio.open_unix_connection(*address))
    elif scheme == "udp":
        await datagrams(remote_addr=(address[0], int(address[1])))
    else:
        path, = address
        await datagrams(family=socket.AF_UNIX, local_addr=f"{path}.asyncio", remote_addr=path)


asyncio.run(main(*sys.argv[1:]))
