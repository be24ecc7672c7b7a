"""Reads compressed messages with the Python package websockets, for every offer that it can make.

usage: python3 inflate-websockets.py ws://HOST:PORT < EVENTS   (a JSON report on the standard output)
"""

import itertools
import json
import sys

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

# Every wait is bounded; a relay that says nothing fails the script.
DEADLINE = 60


def up_to(socket, prefix, containing=""):
    """Takes texts up to the first that begins so and contains that."""
    taken = []
    while True:
        taken.append(socket.recv(timeout=DEADLINE))
        if taken[-1].startswith(prefix) and containing in taken[-1]:
            return taken


def of_subscription(texts, sub):
    return [text for text in texts if text.startswith(f'["EVENT","{sub}",')]


def offers():
    choices = itertools.product([False, True], [False, True], [None, 8, 9, 12, 15], [None, True, 9, 15])
    return [ClientPerMessageDeflateFactory(*choice) for choice in choices]


def extensions(socket):
    return ", ".join(extension.name for extension in socket.protocol.extensions)


def main(url):
    events = [line for line in sys.stdin.read().split("\n") if line]
    sockets = [
        connect(url, extensions=[offer], compression=None, max_size=None, ping_interval=None, proxy=None)
        for offer in offers()
    ]
    for socket in sockets:
        socket.send('["REQ","live",{"kinds":[1],"limit":0}]')
        up_to(socket, '["EOSE","live"')
    live = [[] for _ in sockets]
    for event in events:
        sockets[0].send(f'["EVENT",{event}]')
        containing = '"id":"{}"'.format(json.loads(event)["id"])
        for socket, texts in zip(sockets, live):
            texts.extend(of_subscription(up_to(socket, '["EVENT","live",', containing), "live"))
    report = []
    for socket, texts in zip(sockets, live):
        socket.send('["REQ","stored",{"kinds":[1]}]')
        stored = of_subscription(up_to(socket, '["EOSE","stored"'), "stored")
        report.append({"extensions": extensions(socket), "live": texts, "stored": stored})
    for socket in sockets:
        socket.close()
    print(json.dumps(report))


main(sys.argv[1])
