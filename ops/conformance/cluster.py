"""One fresh cluster of three real nodes, uninitialised until its user calls `sys/init`.

Node 1 is alone; nodes 2 and 3 hold the same join secret and keep asking node 1 to let them in, and
node 1 hands them the root key once they are members. So whoever initialises and unseals node 1 gets
a whole cluster without knowing of it. Every node ends when its standard input does, which is when
this process ends, however it does.
"""

import functools
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time

NODES = 3
START_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
ANSWER_SECONDS_MAX = 60.0
# Below the ports that systems give to outgoing connections, and away from the fault tests' range.
PORT_FIRST = 31_000
PORT_COUNT = 1_700


class Ports:
    """Hands out free loopback ports, no port twice until the range has gone round."""

    def __init__(self):
        self._next = os.getpid() * 61 % PORT_COUNT

    def take(self):
        for _ in range(PORT_COUNT):
            port = PORT_FIRST + self._next
            self._next = (self._next + 1) % PORT_COUNT
            if is_free(port):
                return port
        raise RuntimeError(f"no free port from {PORT_FIRST} on; end what holds them")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Node:
    """One process and where it listens."""

    def __init__(self, place, api_port, peer_port, process):
        self.place = place
        self.api_port = api_port
        self.peer_port = peer_port
        self.process = process

    def ask(self, path):
        """The JSON of an unauthenticated GET, or None while there is none."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.api_port, timeout=ANSWER_SECONDS_MAX, context=trusting_context()
        )
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


class Cluster:
    """Three nodes, the first of which is the one to initialise."""

    def __init__(self, conclaved, ports, base, number):
        self.nodes = []
        self._conclaved = conclaved
        self._folder = os.path.join(base, "clusters", str(number))
        os.makedirs(self._folder, 0o700)
        os.makedirs(os.path.join(base, "logs"), exist_ok=True)
        self._secret = secrets.token_hex(32)
        try:
            for place in range(NODES):
                log = os.path.join(base, "logs", f"{number}-node-{place + 1}.log")
                self.nodes.append(self._start(place, ports, log))
        except BaseException:
            self.end()
            raise

    def wait_started(self):
        """Returns once every node answers."""
        deadline = time.monotonic() + START_SECONDS_MAX
        for node in self.nodes:
            while node.ask("/v1/sys/seal-status") is None:
                if node.process.poll() is not None:
                    raise RuntimeError(f"node {node.place + 1} has ended; its log says why")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"node {node.place + 1} does not answer; its log says why")
                time.sleep(POLL_SECONDS)

    def is_whole(self):
        """Whether every node is unsealed."""
        return all((node.ask("/v1/sys/seal-status") or {}).get("sealed") is False
                   for node in self.nodes)

    def leader(self):
        """The node that leads; the first one while nobody knows."""
        for node in self.nodes:
            if (node.ask("/v1/sys/leader") or {}).get("is_self"):
                return node
        return self.nodes[0]

    def end(self):
        """Kills every node and removes its data: nobody needs this cluster again."""
        for node in self.nodes:
            node.process.kill()
        for node in self.nodes:
            node.process.wait()
            node.process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, place, ports, log):
        api_port, peer_port = ports.take(), ports.take()
        folder = os.path.join(self._folder, f"node-{place + 1}")
        os.mkdir(folder, 0o700)
        write_private(os.path.join(folder, "join.secret"), self._secret)
        file = os.path.join(folder, "config.json")
        write_private(file, json.dumps(self._config(place, api_port, peer_port)))
        with open(log, "wb") as words:
            process = subprocess.Popen(
                [self._conclaved, "server", "--exit-with-parent", "--config", file],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words,
            )
        return Node(place, api_port, peer_port, process)

    def _config(self, place, api_port, peer_port):
        founder = [] if place == 0 else [
            {"leader_cluster_addr": f"127.0.0.1:{self.nodes[0].peer_port}"}
        ]
        return {
            "cluster_name": "conformance",
            "api_addr": f"https://127.0.0.1:{api_port}",
            "cluster_addr": f"127.0.0.1:{peer_port}",
            "listener": {"tcp": {
                "address": f"127.0.0.1:{api_port}",
                "cluster_address": f"127.0.0.1:{peer_port}",
            }},
            "storage": {"raft": {
                "path": "data", "node_id": f"node-{place + 1}", "retry_join": founder,
            }},
            "join_secret_file": "join.secret",
            # The suite begins key ceremonies without a token.
            "compat": "vault",
            # The suite enables a file device at a path of its own choice.
            "audit_api_directory": "/tmp",
            "peer_unseal": {"allow": True, "allow_join_secret_members": True},
        }


def write_private(path, text):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


@functools.cache
def trusting_context():
    """For loopback to nodes that this process started itself, each with a certificate of its own."""
    return make_trusting_context()


def make_trusting_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
