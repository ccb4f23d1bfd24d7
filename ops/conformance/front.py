"""The one address that a suite is given: an HTTPS front before the nodes of one cluster.

Each request goes to a random unsealed node, so that a suite written for one server meets a cluster.
What is about one node (initialising, sealing, its state, joining) goes to the first, which is the
one the suite set up; a step-down goes to the leader. A request is tried at another node only after
the first said that it is sealed: such an answer is given before anything was done.

TLS ends here, with the suite's own server certificate. A client certificate that the suite presents
is presented to the node again, as the same certificate.
"""

import http.client
import random
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster import (
    ANSWER_SECONDS_MAX, POLL_SECONDS, make_trusting_context, trusting_context,
)

FIRST_NODE = {
    f"/v1/sys/{name}"
    for name in ("init", "seal", "unseal", "seal-status", "health", "leader", "storage/raft/join")
}
STEP_DOWN = "/v1/sys/step-down"
# After these the cluster may have another leader, or more unsealed nodes than before.
OPENING = {"/v1/sys/init", "/v1/sys/unseal"}
UNSETTLING = OPENING | {"/v1/sys/seal", STEP_DOWN}

BODY_BYTES_MAX = 64 << 20
WHOLE_SECONDS_MAX = 15.0
LEADER_SECONDS_MAX = 2.0
# Between this process and one neighbour only, or made anew by the library.
HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Tally:
    """How many requests went where, over all clusters of a run."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = {"clusters": 0, "fixed": 0, "free": 0, "followers": 0}

    def add(self, *names):
        with self._lock:
            for name in names:
                self._counts[name] += 1

    def read(self):
        with self._lock:
            return dict(self._counts)


class Front(ThreadingHTTPServer):
    """Serves one address for one cluster until it is shut down."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address, tls, cluster, tally):
        super().__init__(address, Handler)
        self.cluster = cluster
        self.tally = tally
        self._identities = outgoing_identities(tls.get("clients", []))
        # The handshake belongs to the thread of its connection: a slow client holds up nobody else.
        self.socket = incoming_context(tls).wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self._leader, self._leader_until = None, 0.0

    def identity(self, certificate):
        """The context with which a node is asked for a client that presented this certificate."""
        return self._identities.get(certificate) or trusting_context()

    def candidates(self, path):
        """The nodes to ask, in order, and whether the choice was free."""
        nodes = self.cluster.nodes
        if path in FIRST_NODE:
            return nodes[:1], False
        if path == STEP_DOWN:
            return [self.cluster.leader()], False
        others = random.sample(nodes, len(nodes))
        # Where all are sealed the first one's answer counts.
        return others + nodes[:1], True

    def count(self, node, free):
        """Notes which node answered."""
        if not free:
            self.tally.add("fixed")
        elif node is self.leader():
            self.tally.add("free")
        else:
            self.tally.add("free", "followers")

    def leader(self):
        """The leader as of a moment ago."""
        now = time.monotonic()
        if now > self._leader_until:
            self._leader, self._leader_until = self.cluster.leader(), now + LEADER_SECONDS_MAX
        return self._leader

    def settle(self, path):
        """After a request that changes who serves; an answer that opens the first node is held back
        until the others have come along."""
        if path in OPENING:
            self._wait_whole()
        if path in UNSETTLING:
            self._leader_until = 0.0

    def _wait_whole(self):
        status = self.cluster.nodes[0].ask("/v1/sys/seal-status") or {}
        deadline = time.monotonic() + WHOLE_SECONDS_MAX
        while status.get("sealed") is False and time.monotonic() < deadline:
            if self.cluster.is_whole():
                return
            time.sleep(POLL_SECONDS)

    def handle_error(self, request, client_address):
        """A client that goes away in the middle is its own affair; anything else is a mistake here."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One client connection, with one connection to each node that it needed so far."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        self.request.do_handshake()
        super().setup()
        self._context = self.server.identity(self.request.getpeercert(binary_form=True))
        self._connections = {}

    def finish(self):
        for connection in self._connections.values():
            connection.close()
        super().finish()

    def __getattr__(self, name):
        # LIST, SCAN and whatever comes: the nodes decide which methods there are.
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def log_message(self, *_):
        """The nodes log."""

    def _pass_on(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") or length > BODY_BYTES_MAX:
            self.close_connection = True
            return self.send_error(501, "this front takes bodies of a known, moderate length only")
        body = self.rfile.read(length) if length else None
        # As it was sent: the library tidies `self.path`, and judging paths is the node's part.
        target = self.requestline.split()[1]
        path = target.split("?", 1)[0].rstrip("/")
        nodes, free = self.server.candidates(path)
        try:
            node, answer, content = self._ask_in_turn(nodes, target, body)
        except (OSError, http.client.HTTPException) as error:
            return self.send_error(502, "the node does not answer", repr(error))
        self.server.settle(path)
        self.server.count(node, free)
        self._send(answer, content)

    def _ask_in_turn(self, nodes, target, body):
        for node in nodes:
            answer, content = self._ask(node, target, body)
            # The answer to a HEAD does not say why there is none.
            if not is_sealed(answer, content or b"sealed"):
                break
        return node, answer, content

    def _ask(self, node, target, body):
        reused = node.place in self._connections
        try:
            return self._ask_once(node, target, body)
        except (OSError, http.client.HTTPException):
            self._connections.pop(node.place).close()
            if not reused:
                raise
        # The node had closed the idle connection.
        return self._ask_once(node, target, body)

    def _ask_once(self, node, target, body):
        connection = self._connections.get(node.place)
        if connection is None:
            connection = self._connections[node.place] = http.client.HTTPSConnection(
                "127.0.0.1", node.api_port, timeout=ANSWER_SECONDS_MAX, context=self._context
            )
        connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_HEADERS:
                connection.putheader(name, value)
        if body is not None or "Content-Length" in self.headers:
            connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer, answer.read()

    def _send(self, answer, content):
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        if answer.status not in (204, 304) and length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)


def is_sealed(answer, content):
    """Whether the node did nothing because it holds no keys, or belongs to no cluster yet."""
    return answer.status == 503 and (b"sealed" in content or b"belongs to no cluster" in content)


def incoming_context(tls):
    """Asks for a client certificate, and takes one that the suite owns or has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls["certificate"], tls["key"])
    for certificate, _ in tls.get("clients", []):
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def outgoing_identities(clients):
    """DER of each certificate that the suite may present → a context that presents the same."""
    identities = {}
    for certificate, key in clients:
        context = make_trusting_context()
        context.load_cert_chain(certificate, key)
        with open(certificate, encoding="ascii") as pem:
            identities[ssl.PEM_cert_to_DER_cert(first_certificate(pem.read()))] = context
    return identities


def first_certificate(pem):
    begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
    return pem[pem.index(begin):pem.index(end) + len(end)]
