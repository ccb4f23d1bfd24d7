"""Fresh clusters for a suite, one after the other, each behind a front.

    pool.py CONCLAVED FOLDER

Listens on `FOLDER/pool.sock`. A suite's server program connects and sends one line of JSON:
`{"address": "127.0.0.1:8200", "tls": {"certificate": …, "key": …, "clients": [[certificate, key], …]}}`.
It gets the line `ok` once a cluster that nobody has used serves there, or what went wrong. The
cluster lives exactly as long as the connection, so a suite that kills its server program ends it.

The next clusters are started while the suite uses one. All of them end with this process, and it
ends when its standard input does; then it prints how many requests went where, as JSON.
"""

import json
import os
import queue
import signal
import socket
import sys
import threading

from cluster import Cluster, Ports
from front import Front, Tally

# Started but not in use: one waiting, one behind it.
PREPARED_MAX = 2
REQUEST_BYTES_MAX = 64 << 10


class Pool:
    """Keeps prepared clusters and knows all that run."""

    def __init__(self, conclaved, folder):
        self._conclaved = conclaved
        self._folder = folder
        self._ports = Ports()
        self._lock = threading.Lock()
        self._running = set()
        self._ended = False
        # One more waits in the hands of the thread that prepares.
        self._prepared = queue.Queue(PREPARED_MAX - 1)
        self.tally = Tally()

    def prepare_forever(self):
        """Starts clusters as fast as they are taken."""
        number = 0
        while not self._ended:
            number += 1
            try:
                self._prepared.put(self._start(number))
            except Exception as error:  # told to whoever asks for the next cluster
                self._prepared.put(error)

    def take(self):
        """A cluster that nobody has used."""
        prepared = self._prepared.get()
        if isinstance(prepared, Exception):
            raise prepared
        self.tally.add("clusters")
        return prepared

    def give_back(self, cluster):
        """Ends a cluster."""
        cluster.end()
        with self._lock:
            self._running.discard(cluster)

    def end(self):
        """Ends all of them; no further one starts."""
        with self._lock:
            self._ended = True
            running, self._running = self._running, set()
        for cluster in running:
            cluster.end()

    def _start(self, number):
        with self._lock:
            if self._ended:
                raise RuntimeError("the run is over")
            cluster = Cluster(self._conclaved, self._ports, self._folder, number)
            self._running.add(cluster)
        try:
            cluster.wait_started()
        except RuntimeError:
            self.give_back(cluster)
            raise
        return cluster


def serve(pool, listener):
    """One thread for each server program."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=lend, args=(pool, connection), daemon=True).start()


def lend(pool, connection):
    """Lends a cluster for as long as the other side holds the connection."""
    with connection:
        try:
            request = json.loads(connection.makefile().readline(REQUEST_BYTES_MAX))
            cluster = pool.take()
        except Exception as error:  # the suite shows it as its server's last words
            return tell(connection, f"no cluster: {error}")
        try:
            lend_cluster(pool, connection, request, cluster)
        except Exception as error:
            tell(connection, f"no front: {error}")
        finally:
            pool.give_back(cluster)


def lend_cluster(pool, connection, request, cluster):
    host, port = request["address"].rsplit(":", 1)
    with Front((host, int(port)), request["tls"], cluster, pool.tally) as front:
        threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True).start()
        tell(connection, "ok")
        wait_for_end(connection)
        front.shutdown()


def tell(connection, line):
    try:
        connection.sendall(line.encode() + b"\n")
    except OSError:
        pass


def wait_for_end(connection):
    try:
        while connection.recv(1024):
            pass
    except OSError:
        pass


def main():
    conclaved, folder = sys.argv[1:]
    # Ctrl-C reaches the whole process group; what counts is that the parent ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pool = Pool(conclaved, folder)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, "pool.sock"))
    listener.listen()
    threading.Thread(target=pool.prepare_forever, daemon=True).start()
    threading.Thread(target=serve, args=(pool, listener), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.buffer.read()
    pool.end()
    print(json.dumps(pool.tally.read()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
