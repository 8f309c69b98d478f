"""A way to a broker that can be disturbed: requests and answers are seen whole, and a rule says what becomes of each.

Rule 1: where the broker tells its address the proxy's is told, so that a client comes here for everything it asks.
Rule 2: the rule alone disturbs; what it lets pass keeps its order on its connection.
"""

import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from enum import Enum, IntEnum


class Api(IntEnum):
    """Requests by Kafka's key: those of a worker."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_CONFIGS = 32
    DESCRIBE_CLUSTER = 60


# Of a transaction, and since which version their lengths are written short.
SHORT_SINCE = {
    Api.PRODUCE: 9, Api.INIT_PRODUCER_ID: 2, Api.ADD_PARTITIONS_TO_TXN: 3, Api.ADD_OFFSETS_TO_TXN: 3, Api.END_TXN: 3,
    Api.TXN_OFFSET_COMMIT: 3,
}  # fmt: skip
BY_PARTITION = (Api.PRODUCE, Api.ADD_PARTITIONS_TO_TXN, Api.TXN_OFFSET_COMMIT)
ADDRESSED = (Api.METADATA, Api.FIND_COORDINATOR, Api.DESCRIBE_CLUSTER)  # their answers say where brokers are
CLIENT, BROKER = 0, 1


class Act(Enum):
    """What becomes of a frame."""

    GO = "goes on its way"
    HOLD = "stays until somebody forwards it, or for ever"
    RESET = "is lost, and all connections with it"


class Frame:
    """One request, or the answer to one; `body` begins behind the size."""

    def __init__(self, link, api, version, body, request=None):
        self.link, self.api, self.version, self.body = link, api, version, body
        self.answer, self.request = request is not None, request or self

    def forward(self):
        """Sends it on to where it was going; nothing where nobody is there any more."""
        self.link.send(CLIENT if self.answer else BROKER, self.body)

    def in_transaction(self):
        """Whether a record was written in one: then the request names its id, behind the client's own."""
        body = self.request.body
        at = 10 + struct.unpack_from(">h", body, 8)[0]
        return body[at + 1] > 0 if self.version >= SHORT_SINCE[Api.PRODUCE] else body[at : at + 2] != b"\xff\xff"

    def error(self):
        """The code in the answer to a request of a transaction, for its first partition where it has many."""
        return struct.unpack_from(">h", self.body, self._error_at())[0]

    def refuse(self, code):
        """Has it say another code."""
        at = self._error_at()
        self.body = self.body[:at] + struct.pack(">h", code) + self.body[at + 2 :]

    def _error_at(self):
        short = self.version >= SHORT_SINCE[self.api]
        at = 4 + short  # behind the request's number
        if self.api != Api.PRODUCE:
            at += 4  # the time to wait
        if self.api in BY_PARTITION:  # count, topic, count, partition
            at += 1 + self.body[at + 1] + 1 + 4 if short else 4 + 2 + struct.unpack_from(">h", self.body, at + 4)[0] + 8
        return at


class Link:
    """One connection of a client, and ours to the broker for it; each end is closed by the thread that reads it."""

    def __init__(self, proxy, client, broker):
        self._proxy, self._ends, self._asked = proxy, (client, broker), {}
        self._gone = [False, False]
        self._locks = threading.Lock(), threading.Lock()
        self._outlives = False
        self.alone = proxy.idle()  # when it was made
        self.threads = [threading.Thread(target=self._pump, args=(end,), daemon=True) for end in (CLIENT, BROKER)]

    def send(self, end, body):
        with self._locks[end], suppress(OSError):
            self._ends[end].sendall(struct.pack(">i", len(body)) + body)

    def lose(self, end, reset=True):
        """Ends one side; with a reset what is under way on it is lost."""
        self._gone[end] |= reset
        with suppress(OSError):
            if reset:  # its reader wakes up and closes it, and as nothing may linger that is a reset
                self._ends[end].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._ends[end].shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def lose_client(self):
        """The client loses the connection; what it has sent may still reach the broker."""
        self._outlives = True
        self.lose(CLIENT)

    def _pump(self, end):
        source = self._ends[end]
        try:
            while (body := read_frame(source)) is not None and not self._gone[end]:
                self._proxy.handle(self._frame(end, body))
        except OSError:
            pass
        finally:
            with self._locks[end]:
                source.close()
            if (end == BROKER or not self._outlives) and not self._gone[1 - end]:
                self.lose(1 - end, reset=False)
            self._proxy.ended(self, end)

    def _frame(self, end, body):
        if end == CLIENT:
            api, version, number = struct.unpack(">hhi", body[:8])
            self._asked[number] = frame = Frame(self, api, version, body)
            return frame
        request = self._asked.pop(struct.unpack(">i", body[:4])[0])
        if request.api in ADDRESSED:
            body = body.replace(*self._proxy.addresses)
        return Frame(self, request.api, request.version, body, request)


def read_frame(source):
    """The next frame without its size; None where the connection ends."""
    size = read_exactly(source, 4)
    return None if size is None else read_exactly(source, struct.unpack(">i", size)[0])


def read_exactly(source, count):
    parts = []
    while count:
        part = source.recv(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class Proxy:
    """Listens beside a broker of this machine; `bootstrap` is what a client is given. `rule`: frame -> Act."""

    def __init__(self, broker, rule=lambda _: Act.GO):
        host, port = broker.bootstrap.split(":")
        self._target, self.rule, self.seen = (host, int(port)), rule, Counter()
        self._links, self._lock, self._threads = {}, threading.Lock(), []
        self._listener = socket.create_server((host, 0))
        ours = self._listener.getsockname()[1]
        self.bootstrap = f"{host}:{ours}"
        # A host and behind it the port: replaced by as many bytes, so that no length around them changes.
        self.addresses = tuple(host.encode() + struct.pack(">i", number) for number in (int(port), ours))
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()

    def idle(self):
        """Whether no connection is open."""
        return not self._links

    def reset(self):
        """Resets every connection."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.lose(CLIENT)
            link.lose(BROKER)

    def handle(self, frame):
        """Does with a frame what the rule says."""
        if not frame.answer:
            self.seen[frame.api] += 1
        act = self.rule(frame)
        if act is Act.GO:
            frame.forward()
        elif act is Act.RESET:
            self.reset()

    def ended(self, link, end):
        """One side of a connection is closed."""
        with self._lock:
            self._links[link].discard(end)
            if not self._links[link]:
                del self._links[link]

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for one in (client, broker):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client, broker)
            with self._lock:
                self._links[link] = {CLIENT, BROKER}
            self._threads += link.threads
            for thread in link.threads:
                thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(5)
